"""Meta-Weight-Net."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor, nn

from longtail.checks import check_range
from longtail.difficulty import all_reduce_sum
from longtail.errors import LongtailError
from longtail.functional import mean_one, mean_one_gradient
from longtail.methods._meta import MetaNet, VirtualStep, weighted_loss
from longtail.methods.base import ClassStats, Method, Parts, StepContext, register
from longtail.samplers.base import whole_number

__all__ = ["MWNet", "WeightNetStep"]


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class MWNet(Method):
    r"""Meta-Weight-Net: a small network turns each sample's loss into its weight, and learns from balanced samples.

    Formula:
        :math:`L = \frac{1}{B} \sum_i u_i l_i`

        :math:`u_i = \frac{V_i}{\frac{1}{B} \sum_j V_j}, \quad V_i = \text{net}(l_i)`

        with the loss l_i of sample i and a perceptron with one hidden layer, whose output lies in (0, 1). At every
        step the network descends first

        :math:`L_{meta}(\theta - \eta \nabla L)`

        the loss of a class-balanced held-out batch after a virtual step with the current learning rate :math:`\eta`.

    When to use:
        When it is not known whether the samples with a large loss are rare (they should weigh more) or wrongly
        labelled (less). It sees the loss alone, not the class. A step costs about four plain ones.

    Hyperparameters:
        meta_batch: Held-out samples a step, balanced over the classes that the held-out split has, augmented as in
            training; default 100 (the authors').
        hidden: Width of the network; default 100 (the authors').
        net_lr: Learning rate of its Adam; default 1e-5 (the authors' code for imbalance, there of SGD). 1e-3 (their
            newer code) is too much with a hundred classes: on CIFAR100-LT it ends far below cross-entropy.
        net_weight_decay: Of its Adam; default 1e-4 (their newer code).
        normalize: True: weights have mean 1 over a batch (the authors' code for imbalance). False: u = V (their newer
            code), which makes the steps smaller.

    Reference:
        Shu et al., Meta-Weight-Net: Learning an Explicit Mapping For Sample Weighting, NeurIPS 2019.
    """

    name = "mw-net"
    title = "Meta-Weight-Net"
    main = ("net_lr", "meta_batch")
    reference = """
@inproceedings{shu2019meta,
  title     = {Meta-Weight-Net: Learning an Explicit Mapping For Sample Weighting},
  author    = {Shu, Jun and Xie, Qi and Yi, Lixuan and Zhao, Qian and Zhou, Sanping and Xu, Zongben and Meng, Deyu},
  booktitle = {Advances in Neural Information Processing Systems (NeurIPS)},
  volume    = {32},
  year      = {2019},
  eprint    = {1902.07379},
  archivePrefix = {arXiv},
}
"""

    meta_batch: int = 100
    hidden: int = 100
    net_lr: float = 1e-5
    net_weight_decay: float = 1e-4
    normalize: bool = True

    def __post_init__(self) -> None:
        whole_number("meta_batch", self.meta_batch, least=1)
        whole_number("hidden", self.hidden, least=1)
        check_range(self.net_lr, "net_lr", 0, math.inf, open_high=True)
        check_range(self.net_weight_decay, "net_weight_decay", 0, math.inf, open_high=True)
        if not isinstance(self.normalize, bool):
            raise LongtailError(f"normalize is {self.normalize!r}: it must be true or false")

    @property
    def needs_held_out(self) -> bool:
        return True

    def parts(self, stats: ClassStats) -> Parts:
        net = MetaNet(1, self.hidden, 1, seed=stats.seed, lr=self.net_lr, weight_decay=self.net_weight_decay)
        return Parts(step=WeightNetStep(net, normalize=self.normalize, meta_batch=self.meta_batch))


class WeightNetStep(nn.Module):
    """The step of `MWNet`."""

    def __init__(self, net: MetaNet, *, normalize: bool, meta_batch: int) -> None:
        super().__init__()
        self.net, self.normalize, self.meta_batch = net, normalize, meta_batch

    def forward(self, context: StepContext) -> dict[str, Tensor]:
        virtual = VirtualStep(context)
        losses = virtual.losses.detach()
        self.net.learn(self.objective(virtual), reduce=all_reduce_sum)
        with torch.no_grad():
            weight = self.scaled(self.net(losses.unsqueeze(1)).squeeze(1))
        return weighted_loss(context, weight)

    def objective(self, virtual: VirtualStep) -> Tensor:
        """A scalar whose gradient by the network, summed over processes, is that of the meta loss."""
        values = self.net(virtual.losses.detach().unsqueeze(1)).squeeze(1)
        gradient = virtual.meta_gradient(self.scaled(values.detach()))
        if self.normalize:
            gradient = mean_one_gradient(values.detach(), gradient, reduce=all_reduce_sum)
        return (values * gradient).sum()

    def scaled(self, values: Tensor) -> Tensor:
        """Weights of the samples from the network's values, both ``[b]``."""
        return mean_one(values, reduce=all_reduce_sum) if self.normalize else values
