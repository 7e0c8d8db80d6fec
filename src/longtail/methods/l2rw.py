"""Learning to reweight examples."""

from __future__ import annotations

import dataclasses

from torch import Tensor, nn

from longtail.difficulty import all_reduce_sum
from longtail.functional import mean_one
from longtail.methods._meta import VirtualStep, weighted_loss
from longtail.methods.base import ClassStats, Method, Parts, StepContext, register
from longtail.samplers.base import whole_number

__all__ = ["L2RW", "ReweightingStep"]


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class L2RW(Method):
    r"""Learning to reweight (L2RW): samples weigh as much as descending their loss helps on balanced held-out samples.

    Formula:
        :math:`w_i = \frac{\max(\langle v, \nabla l_i \rangle, 0)}{\sum_j \max(\langle v, \nabla l_j \rangle, 0)}`

        :math:`L = \sum_i w_i l_i`

        with the loss l_i of sample i of the batch and the gradient v of the mean loss of a class-balanced held-out
        batch, at every step. This is the authors' derivative by weights that are zero, where the length of the virtual
        step cancels.

    When to use:
        With few classes and a small trusted held-out split, also against wrong labels. A step costs about three plain
        ones. Most samples get weight 0, so it learns slowly, and with many classes a held-out batch says little.
        A batch in which no sample helps gives no gradient: momentum and weight decay alone move the model then.

    Hyperparameters:
        meta_batch: Held-out samples a step, balanced over the classes that the held-out split has, augmented as in
            training; default 100, as Meta-Weight-Net's (the authors have 10 in all, on MNIST).

    Reference:
        Ren et al., Learning to Reweight Examples for Robust Deep Learning, ICML 2018.
    """

    name = "l2rw"
    title = "L2RW (learning to reweight)"
    reference = """
@inproceedings{ren2018learning,
  title     = {Learning to Reweight Examples for Robust Deep Learning},
  author    = {Ren, Mengye and Zeng, Wenyuan and Yang, Bin and Urtasun, Raquel},
  booktitle = {International Conference on Machine Learning (ICML)},
  year      = {2018},
  eprint    = {1803.09050},
  archivePrefix = {arXiv},
}
"""

    meta_batch: int = 100

    def __post_init__(self) -> None:
        whole_number("meta_batch", self.meta_batch, least=1)

    @property
    def needs_held_out(self) -> bool:
        return True

    def parts(self, stats: ClassStats) -> Parts:
        return Parts(step=ReweightingStep(meta_batch=self.meta_batch))


class ReweightingStep(nn.Module):
    """The step of `L2RW`."""

    def __init__(self, *, meta_batch: int) -> None:
        super().__init__()
        self.meta_batch = meta_batch

    def weights(self, context: StepContext) -> Tensor:
        """Weight of each sample of this process's batch, ``[b]``; their mean over the global batch is 1, or 0."""
        return mean_one(VirtualStep(context).alignment().clamp(min=0), reduce=all_reduce_sum)

    def forward(self, context: StepContext) -> dict[str, Tensor]:
        return weighted_loss(context, self.weights(context))
