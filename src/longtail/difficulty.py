"""`ClassDifficulty`: how difficult each class is for the model in training, and the weights that follow from it."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, TypeVar, cast, get_args

import torch
import torch.distributed as dist
from torch import Tensor, nn

from longtail.checks import check_choice, check_range, checked_performance, counts_as_float64, numbers
from longtail.errors import LongtailError
from longtail.functional import (
    Measure,
    TauRule,
    add_class_sums,
    class_performance,
    difficulty_weights,
    dynamic_tau,
    performance_bias,
    resolve_tau,
    shrunk_performance,
    sums_shape,
)
from longtail.held_out import Predict, answers

__all__ = [
    "Absent",
    "ClassDifficulty",
    "DifficultyOptions",
    "Normalize",
    "Shrinkage",
    "Source",
    "all_reduce_sum",
    "describe_options",
]

Absent = Literal["keep", "hard", "error"]
"""What becomes of a class that the held-out split lacks."""

Normalize = bool | Literal["samples"]
"""Scale of the weights."""

Shrinkage = float | Literal["auto"]
"""How strongly the performance of a class with few samples is drawn to that of all."""

Source = Literal["held-out", "train", "cross-fit"]
"""The samples on which the difficulty is measured."""

_Class = TypeVar("_Class", bound=type)
_Init = TypeVar("_Init", bound=Callable[..., None])


@dataclasses.dataclass(frozen=True, kw_only=True)
class DifficultyOptions:
    """The hyperparameters of the difficulty: names, defaults and meaning of all that `ClassDifficulty` takes.

    `ClassDifficulty` and the methods that are built on it have these fields as keywords of their own.

    Args:
        tau: Focusing parameter: a number >= 0, or a rule: ``linear``, ``poly``, ``log``, ``sigmoid`` (the paper's),
            ``accv``, ``code2020``; see `longtail.functional.dynamic_tau`.
        max_tau: Upper bound of tau for the paper's rules (T_M; the paper uses 5).
        eps: Keeps the bias finite (Eq. 5); in (0, 1); 0.01 in the paper.
        power: Exponent of the rule ``poly``; the paper does not print it.
        min_difficulty: Floor of the difficulty, in [0, 1]; above 0, a perfect class keeps some weight.
        momentum: Share of the previous performance in the new one, in [0, 1); 0: no smoothing. A class that is
            measured for the first time starts from the mean of all classes: a young network that answers one class for
            everything has not shown that this class is easy.
        normalize: True: scale the weights so that they sum to C, as in the public code. ``samples``: so that their mean
            over the training samples is 1, which keeps the size of the gradient steps when the easy classes hold most
            samples (needs the class counts). False: as they are, as in the paper's formula.
        absent: A class without samples since the last step: ``keep`` its last performance (if it never had one, it
            takes no part: weight 1), ``hard`` counts it as performance 0, ``error`` raises.
        bias_quantile: In [0, 0.5): quantiles of the classes that take the place of the best and the worst one in the
            bias, which does not then depend on a single class; 0 is Eq. 5.
        measure: What is counted as the performance of a class: ``recall`` is its accuracy (Eq. 1); ``soft`` (mean
            probability of the true class), ``loss`` (``exp(-mean loss)``) and ``ap`` (average precision; it keeps
            ``4096 * C`` bytes), which need logits, ``precision`` and ``f1``; see `longtail.functional.measures`.
        shrinkage: Draws a class towards the performance of all samples, as if it had so many more of them that did as
            well as those; ``auto`` estimates the number, so that differences that are no larger than chance vanish
            (see `longtail.functional.shrunk_performance`). 0: off.
        source: Where the samples come from: ``held-out``; ``train``: the predictions on the training batches, made
            before each step; ``cross-fit``: once, before training, what linear layers on fixed features, each fitted
            without a fold, say of the fold that they never saw. The latter two need no held-out split. ``cross-fit``
            weights stay for the whole training, so that ``min_difficulty`` must be above 0: a class without errors
            would count nothing. Training loops read it; it does not change what is computed.

    Raises:
        LongtailError: a hyperparameter outside its range.
    """

    tau: float | TauRule = 2.0
    max_tau: float = 5.0
    eps: float = 0.01
    power: float = 2.0
    min_difficulty: float = 0.0
    momentum: float = 0.8
    normalize: Normalize = True
    absent: Absent = "keep"
    bias_quantile: float = 0.0
    measure: Measure = "recall"
    shrinkage: Shrinkage = 0.0
    source: Source = "held-out"

    def __post_init__(self) -> None:
        check_range(self.momentum, "momentum", 0, 1, open_high=True)
        check_range(self.min_difficulty, "min_difficulty", 0, 1)
        check_choice(self.absent, "absent policy", get_args(Absent))
        check_choice(self.source, "source", get_args(Source))
        if self.source == "cross-fit" and self.min_difficulty == 0:
            raise LongtailError(
                "source='cross-fit' needs min_difficulty above 0, e.g. 0.05: its weights stay for the whole training, "
                "and a class without errors would have none"
            )
        check_range(self.bias_quantile, "bias_quantile", 0, 0.5, open_high=True)
        if self.shrinkage != "auto":
            check_range(self.shrinkage, "shrinkage", 0, math.inf, open_high=True)
        check_choice(self.measure, "measure", get_args(Measure))
        if not isinstance(self.normalize, bool) and self.normalize != "samples":
            raise LongtailError(f"normalize is {self.normalize!r}: it must be True, False or 'samples'")
        dynamic_tau(0.0, growth="poly", max_tau=self.max_tau, eps=self.eps, power=self.power)  # whichever rule is used
        self.tau_of(torch.zeros(()))

    def tau_of(self, bias: Tensor) -> Tensor:
        """tau as a scalar, whether it is a number or follows from the bias."""
        return resolve_tau(bias, tau=self.tau, max_tau=self.max_tau, eps=self.eps, power=self.power)


def describe_options(cls: _Class) -> _Class:
    """Class decorator: the docstring's line ``{options}`` becomes the meaning of each field of `DifficultyOptions`."""
    own = inspect.cleandoc(DifficultyOptions.__doc__ or "").partition("Args:\n")[2].partition("\n\n")[0]
    if cls.__doc__:  # python -OO drops them
        place = re.search(r"^( *)\{options\}$", cls.__doc__, re.MULTILINE)
        assert place, f"the docstring of {cls.__name__} has no line {{options}}"
        cls.__doc__ = cls.__doc__.replace(place[0], textwrap.indent(textwrap.dedent(own), place[1]))
    return cls


def _with_options(init: _Init) -> _Init:
    """Let the signature name every field of `DifficultyOptions` in place of ``**options``."""
    own = [p for p in inspect.signature(init).parameters.values() if p.kind is not p.VAR_KEYWORD]
    options = inspect.signature(DifficultyOptions).parameters.values()
    cast(Any, init).__signature__ = inspect.Signature([*own, *options])
    return init


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

    @_with_options
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
