"""Difficulty-Net."""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from longtail.checks import check_labels, check_range
from longtail.difficulty import ClassDifficulty, all_reduce_sum
from longtail.losses import ClassWeightedLoss
from longtail.methods._meta import MetaNet, VirtualStep
from longtail.methods.base import ClassStats, Method, Parts, StepContext, register
from longtail.samplers.base import whole_number

__all__ = ["DifficultyNet", "LearnedDifficulty"]


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class DifficultyNet(Method):
    r"""Difficulty-Net: as CDB-W, but a small network turns the accuracies of all classes into the class weights.

    Formula:
        :math:`w = C \frac{s}{\sum_k s_k}, \quad s = \text{net}(A)`

        :math:`L = \frac{1}{B} \sum_i w_{y_i} l_i`

        with the held-out accuracies A of all classes, a perceptron with two hidden layers whose outputs s lie in (0,
        1), and the cross-entropy l_i of sample i. At every step the network descends first

        :math:`L_{meta}(\theta - \eta \nabla L) + \lambda \frac{1}{C} \sum_c (s_c - 1 + A_c / \sum_k A_k)^2`

        the loss of a class-balanced held-out batch after a virtual step with the learning rate :math:`\eta`, and the
        ``driver`` :math:`\lambda`. Before the first measurement w = 1 and nothing is learnt.

    When to use:
        As CDB-W when no rule for tau is trusted: how hard a class is may depend on the others. A step costs about four
        plain ones, and the network needs many of them. (The authors' CIFAR script copies the weights into a new
        tensor, so that there the driver term alone teaches the network.)

    Hyperparameters:
        meta_batch: Held-out samples a step, balanced over the classes that the held-out split has, augmented as in
            training; default 100.
        hidden: Width of both hidden layers; default 128 (the authors' on CIFAR; 1024 on ImageNet-LT).
        net_lr: Learning rate of its Adam; default 1e-3 (the authors' on ImageNet-LT; 1e-5 for 12800 epochs on CIFAR).
        net_weight_decay: Of its Adam; default 1e-4 (the authors').
        driver: Factor of the driver loss; default 0.3 (the authors').
        momentum: Smoothing of the accuracies from epoch to epoch; default 0 (the authors').

    Reference:
        Sinha and Ohashi, Difficulty-Net: Learning to Predict Difficulty for Long-Tailed Recognition, WACV 2023.
    """

    name = "difficulty-net"
    title = "Difficulty-Net"
    main = ("net_lr", "meta_batch", "driver")
    reference = """
@inproceedings{sinha2023difficulty,
  title     = {Difficulty-Net: Learning to Predict Difficulty for Long-Tailed Recognition},
  author    = {Sinha, Saptarshi and Ohashi, Hiroki},
  booktitle = {IEEE/CVF Winter Conference on Applications of Computer Vision (WACV)},
  year      = {2023},
  eprint    = {2209.02960},
  archivePrefix = {arXiv},
}
"""

    meta_batch: int = 100
    hidden: int = 128
    net_lr: float = 1e-3
    net_weight_decay: float = 1e-4
    driver: float = 0.3
    momentum: float = 0.0

    def __post_init__(self) -> None:
        whole_number("meta_batch", self.meta_batch, least=1)
        whole_number("hidden", self.hidden, least=1)
        check_range(self.net_lr, "net_lr", 0, math.inf, open_high=True)
        check_range(self.net_weight_decay, "net_weight_decay", 0, math.inf, open_high=True)
        check_range(self.driver, "driver", 0, math.inf, open_high=True)
        check_range(self.momentum, "momentum", 0, 1, open_high=True)

    @property
    def needs_held_out(self) -> bool:
        return True

    def parts(self, stats: ClassStats) -> Parts:
        sizes = (stats.num_classes, self.hidden, self.hidden, stats.num_classes)
        net = MetaNet(*sizes, seed=stats.seed, lr=self.net_lr, weight_decay=self.net_weight_decay)
        difficulty = LearnedDifficulty(net, stats.num_classes, self)
        return Parts(criterion=ClassWeightedLoss(difficulty), difficulty=difficulty, step=difficulty)


class LearnedDifficulty(ClassDifficulty):
    """A class difficulty whose weights are a network's answer to the performance; it is the step that teaches it too.

    Args:
        net: ``[C] -> [C]`` in (0, 1).
        num_classes: Number of classes.
        method: The hyperparameters.
    """

    def __init__(self, net: MetaNet, num_classes: int, method: DifficultyNet) -> None:
        super().__init__(num_classes, tau=0.0, momentum=method.momentum)  # no rule by hand
        self.net, self.driver, self.meta_batch = net, method.driver, method.meta_batch

    def step(self, performance: Tensor | None = None) -> Tensor:
        super().step(performance)
        return self._predict().clone()

    def forward(self, context: StepContext) -> dict[str, Tensor]:
        if self.steps:
            self.net.learn(self.objective(VirtualStep(context)))
            self._predict()
        images, target = context.batch
        logits = context.forward(images)
        return {"loss": context.criterion(logits, target), "logits": logits}

    def objective(self, virtual: VirtualStep) -> Tensor:
        """A scalar whose gradient by the network is that of the meta loss plus the driver loss; the same everywhere."""
        target = virtual.context.batch[1]
        if target.device.type == "cpu":
            check_labels(target, self.num_classes)
        known = self._known()
        scores = self.net(known)
        weight = self.num_classes * scores / scores.sum()
        by_sample = virtual.meta_gradient(weight.detach()[target])
        by_class = all_reduce_sum(torch.zeros_like(weight).index_add(0, target, by_sample))
        relative = 1 - known / known.sum().clamp(min=1e-12)
        return (weight * by_class).sum() + self.driver * F.mse_loss(scores, relative)

    def _known(self) -> Tensor:
        """Performance ``[C]``; a class that was never measured has the mean of the others."""
        return self.performance.where(~self.performance.isnan(), self.performance.nanmean())

    @torch.no_grad()
    def _predict(self) -> Tensor:
        scores = self.net(self._known())
        return self.weight.copy_(self.num_classes * scores / scores.sum())
