"""Decoupled training: features first, then a balanced classifier. What cRT and LWS share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Literal

from torch import nn

from longtail.checks import check_choice, check_range
from longtail.errors import LongtailError
from longtail.methods._compose import named_method
from longtail.methods.base import ClassStats, Method, Parts, Stage

__all__ = ["REFERENCE", "Decoupled"]

REFERENCE = """
@inproceedings{kang2020decoupling,
  title     = {Decoupling Representation and Classifier for Long-Tailed Recognition},
  author    = {Kang, Bingyi and Xie, Saining and Rohrbach, Marcus and Yan, Zhicheng and Gordo, Albert and Feng, Jiashi
               and Kalantidis, Yannis},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year      = {2020},
  eprint    = {1910.09217},
  archivePrefix = {arXiv},
}
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decoupled(Method):
    """Stage 1 is any method; stage 2 trains a part of the classifier with the criterion and sampler of another."""

    reference = REFERENCE

    stage1: str = "ce"
    balance: str = "class-aware"
    bn_mode: Literal["frozen", "adapt"] = "frozen"
    share: float = 0.1

    def __post_init__(self) -> None:
        check_choice(self.bn_mode, "bn_mode", ("frozen", "adapt"))
        check_range(self.share, "share", 0, 1, open_low=True, open_high=True)
        first, second = (named_method(key, getattr(self, key)) for key in ("stage1", "balance"))
        some = ClassStats(class_counts=[1, 1], bare=True)
        stage1 = first.parts(some)
        if isinstance(first, Decoupled) or stage1.finish is not None or stage1.body is not None:
            raise LongtailError(f"stage1 is {self.stage1!r}: it changes its classifier by itself; choose e.g. ce")
        balance = second.parts(some)
        if balance.head or balance.stages or balance.finish or balance.step:
            raise LongtailError(
                f"balance is {self.balance!r}: it has a classifier, stages or a training step of its own; "
                "choose e.g. class-aware"
            )

    @property
    def needs_held_out(self) -> bool:
        return any(named_method(key, getattr(self, key)).needs_held_out for key in ("stage1", "balance"))

    def _parts(
        self,
        stats: ClassStats,
        *,
        trainable: Callable[[nn.Module, nn.Module], Iterable[nn.Parameter]],
        setup: Callable[[nn.Module, nn.Module], None] | None = None,
        before: Callable[[nn.Module, nn.Module], Iterable[nn.Parameter]] | None = None,
    ) -> Parts:
        """Stage 1 as its method has it, then a stage that trains what ``trainable`` says.

        Args:
            stats: Of the training split.
            trainable: What stage 2 trains.
            setup: What happens before stage 2.
            before: What stage 1 trains; None: what its method says.
        """
        epochs = max(1, round(stats.epochs * (1 - self.share)))
        first = named_method("stage1", self.stage1).parts(dataclasses.replace(stats, epochs=epochs))
        second = named_method("balance", self.balance).parts(stats)
        stages = first.stages or (Stage(name=""),)
        total = sum(stage.epochs for stage in stages)
        return dataclasses.replace(
            first,
            stages=(
                *(
                    dataclasses.replace(
                        stage,
                        name=f"stage1-{stage.name}".rstrip("-"),
                        epochs=(1 - self.share) * stage.epochs / total,
                        trainable=stage.trainable or before,
                    )
                    for stage in stages
                ),
                Stage(
                    name="stage2",
                    epochs=self.share,
                    parts={name: getattr(second, name) for name in ("criterion", "sampler", "difficulty", "step")},
                    trainable=trainable,
                    adapt_norm=self.bn_mode == "adapt",
                    setup=setup,
                    restart=True,
                ),
            ),
        )
