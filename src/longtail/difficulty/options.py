"""The hyperparameters of the difficulty, written down once for all that take them."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
import textwrap
from collections.abc import Callable
from typing import Any, Literal, TypeVar, cast, get_args

import torch
from torch import Tensor

from longtail.checks import check_choice, check_range
from longtail.errors import LongtailError
from longtail.functional import Measure, TauRule, dynamic_tau, resolve_tau

__all__ = ["Absent", "DifficultyOptions", "Normalize", "Shrinkage", "Source", "describe_options", "with_options"]

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


def with_options(init: _Init) -> _Init:
    """Let the signature name every field of `DifficultyOptions` in place of ``**options``."""
    own = [p for p in inspect.signature(init).parameters.values() if p.kind is not p.VAR_KEYWORD]
    options = inspect.signature(DifficultyOptions).parameters.values()
    cast(Any, init).__signature__ = inspect.Signature([*own, *options])
    return init
