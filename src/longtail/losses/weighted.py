"""Any per-sample loss, weighted by class."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from longtail import functional
from longtail.checks import check_choice, check_labels, check_range, class_indices, full_precision, numbers
from longtail.errors import LongtailError
from longtail.functional.logits import by_class

__all__ = ["Base", "ClassWeightedLoss", "Reduction"]

Base = Literal["cross_entropy", "focal", "mse", "hinge"]
Reduction = Literal["mean", "weighted_mean", "sum", "none"]

_DEFAULTS = {"gamma": 1.0, "label_smoothing": 0.0, "margin": 1.0}
_OWNERS = {"gamma": "focal", "label_smoothing": "cross_entropy", "margin": "hinge"}


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
        prediction ``[N, C]`` or dense ``[N, C, d1, ...]``; target: class indices ``[N]`` or ``[N, d1, ...]``;
        result: a scalar, or the shape of target (a callable: of its losses) for ``"none"``. float32 for half precision.

    Raises:
        LongtailError: invalid options; shapes that do not fit; on the CPU a target outside [0, C) that is not
            ``ignore_index`` (on a GPU the check would stall the stream: CUDA's own assertion stops the program there).
    """

    takes_logits: ClassVar[bool] = False
    """Of a subclass with a callable for its base: that this takes logits, so that shapes and labels can be checked."""

    def __init__(
        self,
        weight: Tensor | Sequence[float] | Any | None,
        *,
        base: Base | Callable[..., Tensor] = "cross_entropy",
        reduction: Reduction = "mean",
        gamma: float = _DEFAULTS["gamma"],
        label_smoothing: float = _DEFAULTS["label_smoothing"],
        margin: float = _DEFAULTS["margin"],
        ignore_index: int = -100,
    ) -> None:
        super().__init__()
        check_choice(reduction, "reduction", get_args(Reduction))
        check_range(label_smoothing, "label_smoothing", 0, 1)
        check_range(gamma, "gamma", 0, float("inf"), open_high=True)
        self.reduction = reduction
        self.ignore_index = ignore_index
        self.base = "custom" if callable(base) else base
        self._options = {"gamma": gamma, "label_smoothing": label_smoothing, "margin": margin}
        for name, owner in _OWNERS.items():
            if self.base != owner and self._options[name] != _DEFAULTS[name]:
                raise LongtailError(f"{name} belongs to the base loss {owner!r}: it would do nothing here")
        self.loss = _per_sample(base, **self._options)
        self._shift: tuple[Any] = (None,)
        self.set_weight(weight)

    def set_weight(self, weight: Tensor | Sequence[float] | Any | None) -> None:
        """Take another source of the weights; see the class."""
        if weight is not None and not hasattr(weight, "weight"):
            weight = checked_weight(weight)
        self._source: tuple[Any] = (weight,)  # the tuple keeps a module from being registered here

    def set_shift(self, source: Any) -> None:
        """Add the ``weight`` of ``source``, one number a class, to the logits before the loss sees them."""
        self._shift = (source,)

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
        valid = target != self.ignore_index
        label = target.masked_fill(~valid, 0)
        self._check(prediction, target, label)
        loss = full_precision(self.loss(prediction, label))
        if loss.shape[: label.ndim] != label.shape or (label.ndim and not loss.ndim):
            raise LongtailError(
                f"the base loss returned shape {list(loss.shape)} for targets of shape {list(label.shape)}: "
                "it must return one loss a sample (reduction='none')"
            )
        weight = self.weight
        if weight is None:
            w = valid.to(loss.dtype)
        else:
            weight = weight.to(loss.device, loss.dtype, non_blocking=True)
            w = weight.index_select(0, label.flatten()).view_as(label) * valid
        w = w.reshape(w.shape + (1,) * (loss.ndim - w.ndim))
        weighted = torch.where(valid.view_as(w), w * loss, 0)
        match self.reduction:
            case "none":
                return weighted
            case "sum":
                return weighted.sum()
            case "mean":
                samples = valid.sum() * (loss.numel() // max(label.numel(), 1))
                return weighted.sum() / samples.clamp(min=1)
            case _:  # "weighted_mean"
                total = w.expand_as(loss).sum()
                return weighted.sum() / total.clamp(min=torch.finfo(loss.dtype).tiny)

    def _check(self, prediction: Tensor, target: Tensor, label: Tensor) -> None:
        weight = self.weight
        num_classes = None if weight is None else len(weight)
        if self.base != "custom" or self.takes_logits:
            if prediction.ndim < 2 or prediction.shape[:1] + prediction.shape[2:] != target.shape:
                raise LongtailError(
                    f"logits of shape {list(prediction.shape)} do not fit targets of shape {list(target.shape)}: "
                    "give logits [N, C, ...] and class indices [N, ...]"
                )
            if num_classes not in (None, prediction.shape[1]):
                raise LongtailError(f"{num_classes} class weights for logits of {prediction.shape[1]} classes")
            num_classes = prediction.shape[1]
        if num_classes is not None:
            label = class_indices(label)
            if label.device.type == "cpu":
                check_labels(label, num_classes)

    def extra_repr(self) -> str:
        source = self.source
        name = f"Tensor[{len(source)}]" if isinstance(source, Tensor) else type(source).__name__
        options = {"base": self.base, "reduction": self.reduction, **self._options, "ignore_index": self.ignore_index}
        return ", ".join([name, *(f"{key}={value!r}" for key, value in options.items())])


def _per_sample(base: str | Callable[..., Tensor], *, gamma: float, label_smoothing: float, margin: float) -> Callable:
    """The base loss as ``(prediction, target) -> per-sample losses``."""
    if base == "cross_entropy":
        return functools.partial(_cross_entropy, label_smoothing=label_smoothing)
    if base == "focal":
        return functools.partial(functional.focal_loss, gamma=gamma)
    if base == "mse":
        return functional.mse_loss
    if base == "hinge":
        return functools.partial(functional.hinge_loss, margin=margin)
    if not callable(base):
        known = ", ".join(get_args(Base))
        raise LongtailError(f"unknown base loss {base!r}: known are {known}, or give a callable")
    if getattr(base, "reduction", "none") != "none":
        raise LongtailError(f"the base loss reduces by {base.reduction!r}: build it with reduction='none'")
    if isinstance(base, nn.Module):
        return base
    try:
        takes_reduction = "reduction" in inspect.signature(base).parameters
    except ValueError:  # a builtin without a signature
        takes_reduction = False
    return functools.partial(base, reduction="none") if takes_reduction else base


def _cross_entropy(logits: Tensor, target: Tensor, *, label_smoothing: float) -> Tensor:
    return F.cross_entropy(full_precision(logits), target, reduction="none", label_smoothing=label_smoothing)


def weight_of(source: Any) -> Tensor:
    """What a source says now: the tensor itself, or the ``weight`` of an object that has one."""
    return getattr(source, "weight", source)


def checked_weight(weight: Tensor | Sequence[float]) -> Tensor:
    weight = numbers(weight, "class weights", dtype=torch.float32)
    if weight.ndim != 1 or not len(weight) or not bool(torch.isfinite(weight).all()) or bool((weight < 0).any()):
        raise LongtailError("class weights must be finite numbers >= 0, one a class")
    return weight
