"""`ClassDifficulty`: how difficult each class is for the model in training, and the weights that follow from it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
import torch.distributed as dist
from torch import Tensor, nn

from longtail.checks import check_choice, check_range, checked_performance, counts_as_float64, numbers
from longtail.errors import LongtailError
from longtail.functional import (
    Measure,
    TauRule,
    class_performance,
    class_sums,
    difficulty_weights,
    dynamic_tau,
    performance_bias,
    resolve_tau,
    shrunk_performance,
    sums_shape,
)

__all__ = ["Absent", "ClassDifficulty", "Normalize", "Shrinkage", "Source", "all_reduce_sum"]

Absent = Literal["keep", "hard", "error"]
"""What becomes of a class that the held-out split lacks."""

Normalize = bool | Literal["samples"]
"""Scale of the weights."""

Shrinkage = float | Literal["auto"]
"""How strongly the performance of a class with few samples is drawn to that of all."""

Source = Literal["held-out", "train"]
"""The samples on which the difficulty is measured."""

# The one place of the defaults: ClassDifficulty and the CDB methods take them from here.
DEFAULT_TAU: float | TauRule = 2.0
DEFAULT_MAX_TAU = 5.0
DEFAULT_EPS = 0.01
DEFAULT_POWER = 2.0
DEFAULT_MIN_DIFFICULTY = 0.0
DEFAULT_MOMENTUM = 0.8
DEFAULT_NORMALIZE: Normalize = True
METHOD_NORMALIZE: Normalize = "samples"  # of the methods, which know the class counts
DEFAULT_ABSENT: Absent = "keep"
DEFAULT_BIAS_QUANTILE = 0.0
DEFAULT_MEASURE: Measure = "recall"
DEFAULT_SHRINKAGE: Shrinkage = 0.0
DEFAULT_SOURCE: Source = "held-out"


class ClassDifficulty(nn.Module):
    """Difficulty of each class, measured on a held-out split while the model trains (Eq. 1-10).

    Once an epoch: ``update`` with every held-out batch (model in eval mode), then ``step``. Losses and samplers hold
    this object and read ``weight`` from it whenever they need it::

        difficulty = ClassDifficulty(num_classes=100)
        criterion = ClassWeightedLoss(difficulty)
        ...
        for x, y in held_out_loader:
            difficulty.update(model(x), y)
        difficulty.step()

    Before the first step all weights are 1. The object is a module with buffers: it follows ``.to()`` (its numbers
    stay float32 even when a surrounding model turns to half precision), ``state_dict()``, ``copy.deepcopy`` and
    pickle. Under ``torch.distributed`` each process updates with its own shard of the held-out split, without padding
    duplicates, and ``step`` sums the counts over all processes, so that the weights are the same everywhere; every
    process must call it. The running counts are part of the state dict but not a buffer, because
    ``DistributedDataParallel`` overwrites buffers with those of process 0.

    Without a held-out split, ``source="train"``: ``update`` with the logits of every training batch, as they were
    before the optimiser's step on it, and ``step`` after the epoch. NaN is not looked for then (nor, on a GPU, labels
    out of range), so that training does not wait.

    Args:
        num_classes: C.
        tau: Focusing parameter: a number >= 0, or a rule of `longtail.functional.dynamic_tau`.
        max_tau: Upper bound of tau for the paper's rules.
        eps: Keeps the bias finite (Eq. 5); in (0, 1).
        power: Exponent of the rule ``poly``.
        min_difficulty: Floor of the difficulty, in [0, 1]; above 0, a perfect class keeps some weight.
        momentum: Share of the previous performance in the new one, in [0, 1); 0: no smoothing. The first measurement
            of a class is taken as it is.
        normalize: True: scale the weights so that they sum to C. ``"samples"``: so that their mean over the training
            samples is 1, which keeps the size of the gradient steps when the easy classes hold most samples (needs
            ``class_counts``). False: as they are.
        class_counts: Training samples of each class, ``[C]``; only ``normalize="samples"`` uses them.
        absent: A class without samples since the last step: ``"keep"`` its last performance (if it never had one, it
            takes no part: weight 1), ``"hard"`` counts it as performance 0, ``"error"`` raises.
        bias_quantile: In [0, 0.5): quantiles of the classes that take the place of the best and the worst one in the
            bias, which does not then depend on a single class; 0 is Eq. 5.
        measure: What is counted as the performance of a class: ``"recall"`` is its accuracy (Eq. 1); ``"soft"``,
            ``"loss"`` and ``"ap"``, which need logits, ``"precision"`` and ``"f1"`` are defined in
            `longtail.functional.measures`. ``"ap"`` keeps ``4096 * C`` bytes.
        shrinkage: Draws a class towards the performance of all samples, as if it had so many more of them that did as
            well as those; ``"auto"`` estimates the number, so that differences that are no larger than chance vanish
            (see `longtail.functional.shrunk_performance`). 0: off.
        source: ``"held-out"`` or ``"train"``: where the samples come from. Training loops read it; it does not change
            what is computed.

    Attributes:
        weight: float32 ``[C]``, the class weights.
        performance: float32 ``[C]`` in [0, 1]; NaN for a class that was never measured.
        bias: float32 scalar, Eq. 5; 0 before the first step.
        tau: float32 scalar, the tau in use.
        steps: int64 scalar, number of steps taken.

    Raises:
        LongtailError: a hyperparameter outside its range.
    """

    weight: Tensor
    performance: Tensor
    bias: Tensor
    tau: Tensor
    steps: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        tau: float | TauRule = DEFAULT_TAU,
        max_tau: float = DEFAULT_MAX_TAU,
        eps: float = DEFAULT_EPS,
        power: float = DEFAULT_POWER,
        min_difficulty: float = DEFAULT_MIN_DIFFICULTY,
        momentum: float = DEFAULT_MOMENTUM,
        normalize: Normalize = DEFAULT_NORMALIZE,
        absent: Absent = DEFAULT_ABSENT,
        bias_quantile: float = DEFAULT_BIAS_QUANTILE,
        measure: Measure = DEFAULT_MEASURE,
        shrinkage: Shrinkage = DEFAULT_SHRINKAGE,
        source: Source = DEFAULT_SOURCE,
        class_counts: Sequence[int] | Tensor | None = None,
    ) -> None:
        super().__init__()
        if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 1:
            raise LongtailError(f"num_classes is {num_classes!r}: it must be an integer of at least 1")
        check_range(momentum, "momentum", 0, 1, open_high=True)
        check_range(min_difficulty, "min_difficulty", 0, 1)
        check_choice(absent, "absent policy", get_args(Absent))
        check_choice(source, "source", get_args(Source))
        check_range(bias_quantile, "bias_quantile", 0, 0.5, open_high=True)
        if shrinkage != "auto":
            check_range(shrinkage, "shrinkage", 0, math.inf, open_high=True)
        shape = sums_shape(measure, num_classes)
        if not isinstance(normalize, bool) and normalize != "samples":
            raise LongtailError(f"normalize is {normalize!r}: it must be True, False or 'samples'")
        if normalize == "samples" and class_counts is None:
            raise LongtailError("normalize='samples' needs class_counts: the number of training samples of each class")
        self._shares: Tensor | None = None
        if normalize == "samples":
            counts = counts_as_float64([] if class_counts is None else class_counts)
            if counts.shape != (num_classes,) or not bool(counts.any()):
                raise LongtailError(f"class_counts must be {num_classes} numbers >= 0 that are not all 0")
            self._shares = (counts / counts.sum()).float()
        self.num_classes = num_classes
        self.momentum = momentum
        self.min_difficulty = min_difficulty
        self.normalize = normalize
        self.absent = absent
        self.bias_quantile = bias_quantile
        self.measure: Measure = measure
        self.shrinkage: Shrinkage = shrinkage
        self.source: Source = source
        dynamic_tau(0.0, growth="poly", max_tau=max_tau, eps=eps, power=power)  # checks all, whichever rule is in use
        self._tau_options: dict[str, Any] = {"tau": tau, "max_tau": max_tau, "eps": eps, "power": power}
        self.register_buffer("weight", torch.ones(num_classes))
        self.register_buffer("performance", torch.full((num_classes,), torch.nan))
        self.register_buffer("bias", torch.zeros(()))
        self.register_buffer("tau", resolve_tau(torch.zeros(()), **self._tau_options))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self._counts = torch.zeros(shape, dtype=torch.int64)  # by default: right answers, samples

    @property
    def difficulty(self) -> Tensor:
        """``max(1 - performance, min_difficulty)`` (Eq. 2), float32 ``[C]``; NaN for a class never measured."""
        return (1 - self.performance).clamp(min=self.min_difficulty, max=1)

    @torch.no_grad()
    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Count the answers of one batch, on whatever device it is.

        Args:
            prediction: Logits ``[B, C]`` or class indices ``[B]``; dense ``[B, C, d1, ...]`` or ``[B, d1, ...]``.
                An index that is no class counts as a wrong answer.
            target: Class indices ``[B]``, dense ``[B, d1, ...]``.

        Raises:
            LongtailError: a label outside [0, C), NaN logits, shapes that do not fit, or class indices where the
                measure needs logits; nothing is counted then.
        """
        check = self.source == "held-out"
        sums = class_sums(prediction, target, num_classes=self.num_classes, measure=self.measure, check=check)
        self._counts += sums.to(self._counts.device)

    @torch.no_grad()
    def step(self, performance: Tensor | None = None) -> Tensor:
        """Turn what was counted since the last step into new weights.

        Args:
            performance: ``[C]`` in [0, 1] to use as it is instead of what was counted: average precision of boxes, ...;
                NaN marks a class that could not be measured. Under ``torch.distributed`` every process must give the
                same.

        Returns:
            A copy of the new weights, float32 ``[C]``.

        Raises:
            LongtailError: nothing was counted, a performance outside [0, 1], or a class without samples under
                ``absent="error"``; the state is unchanged then.
        """
        measured = self._measured(performance)
        smoothed = self.momentum * self.performance + (1 - self.momentum) * measured
        new = torch.where(self.performance.isnan(), measured, smoothed)
        new = torch.where(measured.isnan(), self.performance, new)
        known = ~new.isnan()
        bias = performance_bias(new[known], eps=self._tau_options["eps"], quantile=self.bias_quantile)
        tau = resolve_tau(bias, **self._tau_options)
        weight = torch.ones_like(self.weight)
        weight[known] = difficulty_weights(
            new[known], tau=float(tau), min_difficulty=self.min_difficulty, normalize=bool(self.normalize)
        )
        if self._shares is not None:
            shares = self._shares.to(weight.device) * known
            mean = (shares * weight).sum() / shares.sum()
            if bool(mean > 0):  # else no class with training samples is difficult
                weight[known] /= mean
        # In place: whoever holds one of these tensors sees the new values.
        for buffer, value in zip(
            (self.performance, self.bias, self.tau, self.weight), (new, bias, tau, weight), strict=True
        ):
            buffer.copy_(value)
        self.steps += 1
        self._counts.zero_()
        return weight

    def _measured(self, performance: Tensor | None) -> Tensor:
        """This round's performance ``[C]``, NaN where a class is absent and ``absent="keep"``."""
        if performance is None:
            measured, samples = class_performance(all_reduce_sum(self._counts), measure=self.measure)
            if not bool(samples.any()):
                raise LongtailError("no prediction since the last step: call update(prediction, target) first")
            measured = shrunk_performance(measured, samples, strength=self.shrinkage)
        else:
            measured = numbers(performance, "performances", dtype=torch.float32).to(self.performance.device)
            if measured.shape != self.performance.shape:
                raise LongtailError(f"performance must have shape [{self.num_classes}], not {list(measured.shape)}")
        absent = measured.isnan()
        if bool(absent.all()):
            raise LongtailError("no class was measured: every performance is NaN")
        checked_performance(torch.where(absent, 0, measured))
        if self.absent == "error" and bool(absent.any()):
            missing = absent.nonzero().flatten().tolist()
            where = "the held-out split has" if self.source == "held-out" else "this epoch had"
            raise LongtailError(
                f"{where} no sample of class {', '.join(map(str, missing[:5]))}"
                f"{f' and {len(missing) - 5} more' if len(missing) > 5 else ''}: add some, or use absent='keep'"
            )
        return measured.nan_to_num(0.0) if self.absent == "hard" else measured

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
        options = self._tau_options | {
            "min_difficulty": self.min_difficulty,
            "momentum": self.momentum,
            "normalize": self.normalize,
            "absent": self.absent,
            "bias_quantile": self.bias_quantile,
            "measure": self.measure,
            "shrinkage": self.shrinkage,
            "source": self.source,
        }
        return ", ".join([str(self.num_classes), *(f"{name}={value!r}" for name, value in options.items())])


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
