"""Any per-sample loss, weighted by class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor, nn

from longtail.checks import check_choice, check_labels, check_range, class_indices, full_precision, holds
from longtail.errors import LongtailError
from longtail.functional.counting import IGNORE_HINT
from longtail.functional.logits import by_class
from longtail.functional.targets import is_soft, truth
from longtail.losses.base import Base, per_sample
from longtail.losses.reduction import Reduction, reduced
from longtail.losses.sources import as_source, weight_of

__all__ = ["Base", "ClassWeightedLoss", "Reduction"]


class ClassWeightedLoss(nn.Module):
    """``w_y * loss`` for any per-sample loss and any source of class weights (CDB-W: Eq. 12 and 14).

    The loss holds the source of its weights and reads it in every forward pass; it keeps no copy that could go stale.
    The source is not a submodule: a `ClassDifficulty` is moved and saved by whoever owns it, once, and is found
    neither in this module's ``state_dict`` nor among its buffers. Its few numbers are brought to the device of the
    logits as needed.

    Args:
        weight: Weights ``[C]`` >= 0, or an object whose ``weight`` is such a tensor (`ClassDifficulty`); None: ones.
        base: ``"cross_entropy"``, ``"focal"``, ``"mse"`` (Brier score), ``"hinge"`` (multi-class hinge), or a callable
            ``(prediction, target) -> losses`` that does not reduce, such as ``nn.CrossEntropyLoss(reduction="none")``.
            A function with a ``reduction`` argument is called with ``reduction="none"``. Callables see label 0 in
            place of ``ignore_index``, and what they return there is dropped.
        reduction: ``"mean"``: plain mean of ``w_y * loss`` over the samples that are not ignored (0 if there is none);
            ``"weighted_mean"``: ``sum(w_y * loss) / sum(w_y)``, as torch's weighted cross-entropy (0 if no sample
            has weight); ``"sum"``; ``"none"``.
        gamma: Focusing parameter of ``"focal"``.
        label_smoothing: Of ``"cross_entropy"``, in [0, 1]; ``w_y`` multiplies the smoothed loss.
        margin: Of ``"hinge"``.
        ignore_index: Targets with this value contribute nothing.

    Shape:
        prediction ``[N, C]`` or dense ``[N, C, d1, ...]``; target: class indices of any integer type, ``[N]`` or
        ``[N, d1, ...]``, or soft targets t of the shape of the prediction (mixup, cutmix), whose weight is
        ``sum_c t_c w_c``; result: a scalar, or ``[N]`` or ``[N, d1, ...]`` (a callable: the shape of its losses) for
        ``"none"``. float32 for half precision.

    Raises:
        LongtailError: invalid options; shapes that do not fit; on the CPU a target outside [0, C) that is not
            ``ignore_index``, or NaN logits for ``"hinge"``. These values are not looked at on a GPU (it would stall the
            stream; CUDA's own assertion stops the program at such a target), nor in ``torch.compile``, ``torch.export``
            and ``torch.func.vmap``.
    """

    takes_logits: ClassVar[bool] = False
    """Of a subclass with a callable for its base: that this takes logits, so that shapes and labels can be checked."""
    smooths: ClassVar[bool] = True
    """Whether a target that all classes have a share in keeps what the loss is for."""

    def __init__(
        self,
        weight: Tensor | Sequence[float] | Any | None,
        *,
        base: Base | Callable[..., Tensor] = "cross_entropy",
        reduction: Reduction = "mean",
        gamma: float = 1.0,
        label_smoothing: float = 0.0,
        margin: float = 1.0,
        ignore_index: int = -100,
    ) -> None:
        super().__init__()
        check_choice(reduction, "reduction", get_args(Reduction))
        self.reduction: Reduction = reduction
        self.ignore_index = ignore_index
        self.base = "custom" if callable(base) else base
        self._options = {"gamma": gamma, "label_smoothing": label_smoothing, "margin": margin}
        self.loss = per_sample(base, self._options)
        self._shift: tuple[Any] = (None,)
        self._smoothing = 0.0
        self.set_weight(weight)

    def set_weight(self, weight: Tensor | Sequence[float] | Any | None) -> None:
        """Take another source of the weights; see the class."""
        # The tuple keeps a module from being registered here.
        self._source: tuple[Any] = (None if weight is None else as_source(weight),)

    def set_shift(self, source: Any) -> None:
        """Add the ``weight`` of ``source``, one number per class, to the logits before the loss sees them."""
        self._shift = (source,)

    def set_label_smoothing(self, share: float) -> None:
        """Give all classes together the share, in [0, 1), of each target; ``w_y`` multiplies the smoothed loss.

        Raises:
            LongtailError: a share outside its range, a loss that tells one true class from the others, or one of which
                it is not known that it takes soft targets.
        """
        check_range(share, "label_smoothing", 0, 1, open_high=True)
        if share and not (self.smooths and (self.base != "custom" or self.takes_logits)):
            what = "a callable" if type(self) is ClassWeightedLoss else type(self).__name__
            raise LongtailError(f"the loss ({what}) has no smoothed target")
        if self.base == "cross_entropy":
            self._options["label_smoothing"] = share
            self.loss = per_sample("cross_entropy", self._options)
        else:
            self._smoothing = share

    @property
    def source(self) -> Any:
        """Where the weights come from; None: all ones."""
        return self._source[0]

    @property
    def shift(self) -> Any:
        """What shifts the logits; None: nothing."""
        return self._shift[0]

    @property
    def plain(self) -> bool:
        """Whether this is ``sum(w_y * cross-entropy) / N`` and nothing else."""
        only = type(self) is ClassWeightedLoss and self.base == "cross_entropy" and self.reduction == "mean"
        return only and not self._options["label_smoothing"] and self.shift is None

    @property
    def weight(self) -> Tensor | None:
        """The source's class weights now, ``[C]``; None: all ones."""
        return None if self.source is None else weight_of(self.source)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        if self.shift is not None:
            prediction = full_precision(prediction)
            prediction = prediction + by_class(self.shift.weight, prediction)
        weight = self.weight
        target, counts = self._target(prediction, target, weight)
        loss = full_precision(self.loss(prediction, self._smoothed(prediction, target)))
        counts = _one_a_sample(loss, counts)
        if weight is None:
            w = counts.to(loss.dtype)
        else:
            w = _of_samples(weight.to(loss.device, loss.dtype, non_blocking=True), target, counts)
        return reduced(loss, w, counts, self.reduction)

    def _smoothed(self, prediction: Tensor, target: Tensor) -> Tensor:
        if not self._smoothing:
            return target
        prediction = full_precision(prediction)
        return truth(prediction, target) * (1 - self._smoothing) + self._smoothing / prediction.shape[1]

    def _target(self, prediction: Tensor, target: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
        """The target that the base loss sees, checked, and which samples count."""
        knows_logits = self.base != "custom" or self.takes_logits
        if not knows_logits and weight is None:  # nothing is known of what a user's loss takes
            target = target if target.is_floating_point() else class_indices(target)
            counts = target != self.ignore_index
            return target.masked_fill(~counts, 0), counts
        classes = len(weight) if weight is not None else prediction.shape[1] if prediction.ndim > 1 else 0
        soft = is_soft(target, prediction) and target.shape[1] == classes
        if knows_logits:
            self._check_shapes(prediction, target, classes, soft)
        readable = prediction.device.type == "cpu"
        if soft:
            if readable and not holds((target >= 0) & target.isfinite()):
                raise LongtailError("soft targets must be finite numbers >= 0, one per class")
            counts = torch.ones_like(target.select(1, 0), dtype=torch.bool)
        else:
            target = class_indices(target)
            counts = target != self.ignore_index
            target = target.masked_fill(~counts, 0)
            if readable:
                check_labels(target, classes, hint=IGNORE_HINT)
        if self.base == "hinge" and readable and not holds(~(prediction.isnan().any(1) & counts)):
            raise LongtailError("the logits hold NaN: the model has diverged (lower the learning rate)")
        return target, counts

    def _check_shapes(self, prediction: Tensor, target: Tensor, classes: int, soft: bool) -> None:
        if not soft and target.is_floating_point() and prediction.shape[:1] + prediction.shape[2:] == target.shape:
            class_indices(target)  # says what they must be
        if prediction.ndim < 2 or (not soft and prediction.shape[:1] + prediction.shape[2:] != target.shape):
            raise LongtailError(
                f"logits of shape {list(prediction.shape)} do not fit targets of shape {list(target.shape)}: "
                "give logits [N, C, ...] and class indices [N, ...], or soft targets of the logits' shape"
            )
        if classes != prediction.shape[1]:
            raise LongtailError(f"{classes} class weights for logits of {prediction.shape[1]} classes")

    def extra_repr(self) -> str:
        source = self.source
        name = f"Tensor[{len(source)}]" if isinstance(source, Tensor) else type(source).__name__
        options = {"base": self.base, "reduction": self.reduction, **self._options, "ignore_index": self.ignore_index}
        return ", ".join([name, *(f"{key}={value!r}" for key, value in options.items())])


def _one_a_sample(loss: Tensor, counts: Tensor) -> Tensor:
    """Which samples count; raises where the base loss has reduced them."""
    if loss.shape == counts.shape[:1] + counts.shape[2:] and loss.ndim == counts.ndim - 1:
        counts = counts.all(1)  # a user's loss that takes soft targets
    if loss.shape[: counts.ndim] != counts.shape or (counts.ndim and not loss.ndim):
        raise LongtailError(
            f"the base loss returned shape {list(loss.shape)} for targets of shape {list(counts.shape)}: "
            "it must return one loss a sample (reduction='none')"
        )
    return counts


def _of_samples(weight: Tensor, target: Tensor, counts: Tensor) -> Tensor:
    """The weight of each sample: ``w_y``, of a soft target ``sum_c t_c w_c``; 0 where it does not count."""
    if target.is_floating_point():
        target = target.to(weight.dtype)
        return (target * by_class(weight, target)).sum(1)
    return weight.index_select(0, target.flatten()).reshape(target.shape) * counts
