"""OLTR: open long-tailed recognition by a memory of the classes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable

from torch import Tensor, nn

from longtail.checks import check_range
from longtail.methods._memory import MemoryHead, ModulatedAttention, centroid_loss
from longtail.methods.base import ClassStats, Features, Method, Parts, Stage, StepContext, register
from longtail.samplers import ClassAwareSampler

__all__ = ["OLTR"]


@register
@dataclasses.dataclass(frozen=True, kw_only=True)
class OLTR(Method):
    r"""OLTR: plain training, then a classifier that looks features up in a memory of the class means.

    Formula:
        :math:`v = r (x + e \odot m), \quad m = \text{softmax}(h(x)) M, \quad e = \tanh(s(x))`

        :math:`r = \frac{10}{\min_c \lVert x - M_c \rVert}`

        :math:`z_c = \text{scale} \cdot \frac{v}{1 + \lVert v \rVert} \cdot \frac{W_c}{\lVert W_c \rVert}`

        Stage 1: cross-entropy. Stage 2, class-aware sampling: the last feature map f becomes ``f + where(f) *
        attention(f)`` (networks whose last stage is ``layer4`` or ``blocks``) and is pooled to x; M is a memory of
        class centroids, m what it calls to mind, e the selector and r the reachability. h starts from the classifier
        of stage 1, M from the class means of the training features. The loss is cross-entropy plus ``weight`` times

        :math:`0.5 \lVert x - M_y \rVert^2 + 0.01 \max(0, 10 - q)`

        with the mean squared distance q to the other centroids, each averaged over the batch.

    When to use:
        For comparison with the literature: it is larger than the one-line losses that came after it and does not reach
        them. In the paper its number is the one of its authors.

    Hyperparameters:
        share: Share of the epochs for stage 2, on a schedule of its own; default 2/3 (60 after 30, the authors').
        scale: Factor of the logits; 16 (the authors').
        weight: Of the centroid loss; 0.01 (the authors').
        slow: Factor of the gradients of features and centroids in stage 2; 0.1, as the authors' learning rates of 0.01
            beside 0.1 for the classifier.
        Unlike the authors', ``where`` looks at each position alone, so that images may have any size.

    Reference:
        Liu et al., Large-Scale Long-Tailed Recognition in an Open World, CVPR 2019.
    """

    name = "oltr"
    title = "OLTR (dynamic meta-embedding)"
    main = ("share", "weight")
    reference = """
@inproceedings{liu2019large,
  title     = {Large-Scale Long-Tailed Recognition in an Open World},
  author    = {Liu, Ziwei and Miao, Zhongqi and Zhan, Xiaohang and Wang, Jiayun and Gong, Boqing and Yu, Stella X.},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  pages     = {2537--2546},
  year      = {2019},
  eprint    = {1904.05160},
  archivePrefix = {arXiv},
}
"""

    share: float = 2 / 3
    scale: float = 16.0
    weight: float = 0.01
    slow: float = 0.1

    def __post_init__(self) -> None:
        check_range(self.share, "share", 0, 1, open_low=True, open_high=True)
        check_range(self.scale, "scale", 0, float("inf"), open_low=True, open_high=True)
        check_range(self.weight, "weight", 0, float("inf"), open_high=True)
        check_range(self.slow, "slow", 0, 1)

    def parts(self, stats: ClassStats) -> Parts:
        second = {
            "sampler": ClassAwareSampler(stats.labels, samples_per_class=4, seed=stats.seed),
            "step": functools.partial(_step, weight=self.weight),
        }
        return Parts(
            head=functools.partial(MemoryHead, scale=self.scale, slow=self.slow),
            body=_add_attention,
            stages=(
                Stage(name="plain", epochs=1 - self.share, trainable=_network),
                Stage(
                    name="memory", epochs=self.share, parts=second, trainable=_all_but_the_linear, restart=True,
                    setup=_begin, prepare=_remember,
                ),
            ),
        )  # fmt: skip


def _add_attention(model: nn.Module, head: nn.Module) -> None:
    for name in ("layer4", "blocks"):  # the last stage of torchvision's ResNets, and of those for small images
        stage = getattr(model, name, None)
        if isinstance(stage, nn.Sequential):
            attention = ModulatedAttention(head.get_parameter("weight").shape[1])
            setattr(model, name, nn.Sequential(stage, attention.to(head.get_parameter("weight").device)))
            return


def _network(model: nn.Module, head: nn.Module) -> Iterable[nn.Parameter]:
    """The network as it came: nothing that stage 2 adds."""
    added = [head, *(m for m in model.modules() if isinstance(m, ModulatedAttention))]
    new = {id(p) for module in added for p in module.parameters()} - {id(p) for p in _linear(head)}
    return (p for p in model.parameters() if id(p) not in new)


def _all_but_the_linear(model: nn.Module, head: nn.Module) -> Iterable[nn.Parameter]:
    linear = {id(p) for p in _linear(head)}
    return (p for p in model.parameters() if id(p) not in linear)


def _linear(head: nn.Module) -> Iterable[nn.Parameter]:
    return head.get_submodule("linear").parameters()


def _begin(model: nn.Module, head: nn.Module) -> None:
    assert isinstance(head, MemoryHead)
    head.begin()


def _remember(head: nn.Module, features: Features) -> None:
    assert isinstance(head, MemoryHead)
    head.remember(*features("train"))


def _step(context: StepContext, *, weight: float) -> dict[str, Tensor]:
    images, target = context.batch
    logits = context.forward(images)
    head = next(module for module in context.model.modules() if isinstance(module, MemoryHead))
    features, head.features = head.features, head.features.new_empty(0)
    extra = centroid_loss(features, target, head.slowed(head.centroids), head.known)
    return {"loss": context.criterion(logits, target) + weight * extra, "logits": logits}
