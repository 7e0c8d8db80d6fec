"""`ClassDifficulty`: how difficult each class is for the model in training, and the weights that follow from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from longtail.checks import checked_performance, counts_as_float64, numbers
from longtail.difficulty.options import DifficultyOptions, Source, describe_options, with_options
from longtail.errors import LongtailError
from longtail.functional import (
    add_class_sums,
    class_performance,
    difficulty_weights,
    performance_bias,
    shrunk_performance,
    sums_shape,
)
from longtail.held_out import Predict, answers

__all__ = ["ClassDifficulty", "all_reduce_sum"]


@describe_options
class ClassDifficulty(nn.Module):
    """Difficulty of each class, measured on a held-out split while the model trains (Eq. 1-10).

    Once an epoch: ``measure``, or ``update`` with every held-out batch (model in eval mode) and then ``step``. Losses
    and samplers hold this object and read ``weight`` from it whenever they need it::

        difficulty = ClassDifficulty(num_classes=100)
        criterion = ClassWeightedLoss(difficulty)
        ...
        difficulty.measure(model, held_out_loader)

    Before the first step all weights are 1. The object is a module with buffers: it follows ``.to()`` (its numbers
    stay float32 even when a surrounding model turns to half precision), ``state_dict()``, ``copy.deepcopy`` and
    pickle. Under ``torch.distributed`` each process updates with its own shard of the held-out split, without padding
    duplicates, and ``step`` sums the counts over all processes, so that the weights are the same everywhere; every
    process must call it. The running counts are part of the state dict but not a buffer, because
    ``DistributedDataParallel`` overwrites buffers with those of process 0.

    Without a held-out split, ``source="train"``: ``update`` with the logits of every training batch, as they were
    before the optimiser's step on it, and ``step`` after the epoch. NaN is not looked for then (nor, on a GPU, labels
    out of range), so that training does not wait.

    With features that stay as they are, ``source="cross-fit"``, once and before training::

        logits = out_of_fold(x, y, criterion, num_classes=100, folds=folds_of(y), l2=1e-5)  # longtail.features
        difficulty.update(logits, y)
        difficulty.step(trained=True)

    Args:
        num_classes: Number of classes.
        class_counts: Training samples of each class, ``[C]``; only ``normalize="samples"`` uses them.
        {options}

    Attributes:
        options: `DifficultyOptions`, the hyperparameters.
        weight: float32 ``[C]``, the class weights.
        performance: float32 ``[C]`` in [0, 1], smoothed; NaN for a class that was never measured.
        measured: float32 ``[C]``, what the last step measured, before it was smoothed; NaN for a class that it lacked.
            It is not saved.
        bias: float32 scalar, Eq. 5; 0 before the first step.
        tau: float32 scalar, the tau in use.
        steps: int64 scalar, number of steps taken.

    Raises:
        LongtailError: a hyperparameter outside its range.
    """

    weight: Tensor
    performance: Tensor
    measured: Tensor
    bias: Tensor
    tau: Tensor
    steps: Tensor

    @with_options
    def __init__(self, num_classes: int, *, class_counts: Sequence[int] | Tensor | None = None, **options: Any) -> None:
        super().__init__()
        if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 1:
            raise LongtailError(f"num_classes is {num_classes!r}: it must be an integer of at least 1")
        self.num_classes = num_classes
        self.options = DifficultyOptions(**options)
        self._shares = _shares(class_counts, num_classes) if self.options.normalize == "samples" else None
        self.register_buffer("weight", torch.ones(num_classes))
        self.register_buffer("performance", torch.full((num_classes,), torch.nan))
        self.register_buffer("measured", torch.full((num_classes,), torch.nan), persistent=False)
        self.register_buffer("bias", torch.zeros(()))
        self.register_buffer("tau", self.options.tau_of(torch.zeros(())))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        shape = sums_shape(self.options.measure, num_classes)
        self._counts = torch.zeros(shape, dtype=torch.int64)  # by default: right answers, samples

    @property
    def source(self) -> Source:
        """Where the samples come from."""
        return self.options.source

    @property
    def difficulty(self) -> Tensor:
        """``max(1 - performance, min_difficulty)`` (Eq. 2), float32 ``[C]``; NaN for a class never measured."""
        return (1 - self.performance).clamp(min=self.options.min_difficulty, max=1)

    def update(self, prediction: Tensor, target: Tensor, *, ignore_index: int = -100) -> None:
        """Count the answers of one batch, on whatever device it is.

        Args:
            prediction: Logits ``[B, C]`` or class indices ``[B]``; dense ``[B, C, d1, ...]`` or ``[B, d1, ...]``.
                An index that is no class counts as a wrong answer.
            target: Class indices of any integer type, ``[B]``, dense ``[B, d1, ...]``.
            ignore_index: Targets with this value are not counted, as in the loss.

        Raises:
            LongtailError: another label outside [0, C), NaN logits, shapes that do not fit, or class indices where the
                measure needs logits; nothing is counted then.
        """
        check = self.source != "train"
        add_class_sums(
            self._counts, prediction, target, measure=self.options.measure, check=check, ignore_index=ignore_index
        )

    def measure(self, model: nn.Module, loader: Iterable[Any], *, predict: Predict | None = None) -> Tensor:
        """Let the model answer the held-out split, and take the step: once an epoch, in place of the loop over batches.

        The model answers in ``eval()`` and without gradient, on the device where it is; afterwards each of its modules
        is in the mode that it was in. Under ``torch.distributed`` every process calls it with its shard. What a
        ``DistributedSampler``, or Accelerate, appends so that all processes get equally many is not counted.

        Args:
            model: Answers logits ``[B, C]``, or an object whose ``logits`` they are; bare or in
                ``DistributedDataParallel``.
            loader: Of the held-out split; yields ``(x, y)``, or dictionaries with ``labels`` whose other entries are
                the model's keywords.
            predict: For other batches: ``predict(model, batch)`` returns logits ``[B, C]`` (or class indices ``[B]``)
                and targets.

        Returns:
            A copy of the new weights, float32 ``[C]``.

        Raises:
            LongtailError: the difficulty is measured on training batches, a batch that cannot be read, or as `update`
                and `step`; what was counted is dropped then, and the weights are unchanged.
        """
        if self.source != "held-out":
            told = {"train": "the training batches: call update() on each", "cross-fit": "out-of-fold logits: update()"}
            raise LongtailError(f"source={self.source!r} measures {told[self.source]}, and step()")
        self._counts.zero_()  # of an earlier attempt
        try:
            for prediction, target in answers(model, loader, predict=predict):
                self.update(prediction, target)
            return self.step()
        finally:
            self._counts.zero_()

    def reset(self) -> None:
        """Forget all that was measured, as if new; in place, so that losses and samplers that hold this follow."""
        self.weight.fill_(1)
        for unknown in (self.performance, self.measured):
            unknown.fill_(torch.nan)
        for none in (self.bias, self.steps, self._counts):
            none.zero_()
        self.tau.copy_(self.options.tau_of(torch.zeros(())))

    @torch.no_grad()
    def step(self, performance: Tensor | None = None, *, trained: bool = False) -> Tensor:
        """Turn what was counted since the last step into new weights.

        Args:
            performance: ``[C]`` in [0, 1] to use as it is instead of what was counted: average precision of boxes, ...;
                NaN marks a class that could not be measured. Under ``torch.distributed`` every process must give the
                same.
            trained: The model is no young one: what is measured for the first time is taken as it is.

        Returns:
            A copy of the new weights, float32 ``[C]``.

        Raises:
            LongtailError: nothing was counted, a performance outside [0, 1], or a class without samples under
                ``absent="error"``; the state is unchanged then.
        """
        measured = self._measured(performance)
        new = self._smoothed(measured, trained)
        bias, tau, weight = self._weights(new)
        # In place: whoever holds one of these tensors sees the new values.
        buffers = (self.performance, self.measured, self.bias, self.tau, self.weight)
        for buffer, value in zip(buffers, (new, measured, bias, tau, weight), strict=True):
            buffer.copy_(value)
        self.steps += 1
        self._counts.zero_()
        return weight

    def _smoothed(self, measured: Tensor, trained: bool) -> Tensor:
        """Performance ``[C]`` after what was measured; NaN for a class that never was."""
        momentum = self.options.momentum
        start = measured if trained else measured.nanmean()
        before = torch.where(self.performance.isnan(), start, self.performance)
        smoothed = momentum * before + (1 - momentum) * measured
        return torch.where(measured.isnan(), self.performance, smoothed)

    def _weights(self, performance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Bias, tau and weights ``[C]`` from the performance; weight 1 where this is NaN."""
        options, known = self.options, ~performance.isnan()
        bias = performance_bias(performance[known], eps=options.eps, quantile=options.bias_quantile)
        tau = options.tau_of(bias)
        weight = torch.ones_like(self.weight)
        weight[known] = difficulty_weights(
            performance[known],
            tau=float(tau),
            min_difficulty=options.min_difficulty,
            normalize=bool(options.normalize),
        )
        if self._shares is not None:
            shares = self._shares.to(weight.device) * known
            mean = (shares * weight).sum() / shares.sum()
            if bool(mean > 0):  # else no class with training samples is difficult
                weight[known] /= mean
        return bias, tau, weight

    def _measured(self, performance: Tensor | None) -> Tensor:
        """This round's performance ``[C]``, NaN where a class is absent and ``absent="keep"``."""
        if performance is None:
            measured, samples = class_performance(all_reduce_sum(self._counts), measure=self.options.measure)
            if not bool(samples.any()):
                raise LongtailError("no prediction since the last step: call update(prediction, target) first")
            measured = shrunk_performance(measured, samples, strength=self.options.shrinkage)
        else:
            measured = numbers(performance, "performances", dtype=torch.float32).to(self.performance.device)
            if measured.shape != self.performance.shape:
                raise LongtailError(f"performance must have shape [{self.num_classes}], not {list(measured.shape)}")
        absent = measured.isnan()
        if bool(absent.all()):
            raise LongtailError("no class was measured: every performance is NaN")
        checked_performance(torch.where(absent, 0, measured))
        if self.options.absent == "error" and bool(absent.any()):
            missing = absent.nonzero().flatten().tolist()
            where = {"held-out": "the held-out split has", "train": "this epoch had"}.get(self.source, "training has")
            raise LongtailError(
                f"{where} no sample of class {', '.join(map(str, missing[:5]))}"
                f"{f' and {len(missing) - 5} more' if len(missing) > 5 else ''}: add some, or use absent='keep'"
            )
        return measured.nan_to_num(0.0) if self.options.absent == "hard" else measured

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ClassDifficulty:
        def keep_dtype(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        self._counts = keep_dtype(self._counts)
        return super()._apply(keep_dtype, recurse)

    def get_extra_state(self) -> Tensor:
        return self._counts.clone()

    def set_extra_state(self, state: Tensor) -> None:
        self._counts.copy_(state)

    def extra_repr(self) -> str:
        options = dataclasses.asdict(self.options)
        return ", ".join([str(self.num_classes), *(f"{name}={value!r}" for name, value in options.items())])


def _shares(class_counts: Sequence[int] | Tensor | None, num_classes: int) -> Tensor:
    """Each class's share of the training samples, float32 ``[C]``."""
    if class_counts is None:
        raise LongtailError("normalize='samples' needs class_counts: the number of training samples of each class")
    counts = counts_as_float64(class_counts)
    if counts.shape != (num_classes,) or not bool(counts.any()):
        raise LongtailError(f"class_counts must be {num_classes} numbers >= 0 that are not all 0")
    return (counts / counts.sum()).float()


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Sum of ``tensor`` over all processes, or ``tensor`` itself where there is one. Every process must call it.

    The result is on the device of ``tensor``; with an NCCL-only group, a CPU tensor travels over the current GPU.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return tensor
    device = tensor.device
    if device.type == "cpu" and dist.get_backend() == "nccl":
        device = torch.device("cuda", torch.cuda.current_device())
    total = tensor.detach().to(device, copy=True)
    dist.all_reduce(total)
    return total.to(tensor.device)
