"""Accuracy of the many-, medium- and few-shot classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from longtail.checks import counts_as_float64
from longtail.difficulty import all_reduce_sum
from longtail.errors import LongtailError
from longtail.functional import correct_counts
from longtail.shots import FEW, MANY

__all__ = ["ShotAccuracy", "head_and_tail", "shot_accuracy", "shot_groups"]


def shot_groups(class_counts: Tensor | Sequence[int], *, many: float = MANY, few: float = FEW) -> dict[str, Tensor]:
    """Which classes are many-, medium- and few-shot, by their number of training samples.

    Many: more than ``many`` samples. Few: fewer than ``few``. Medium: the rest, both bounds included
    (Liu et al., CVPR 2019; some papers count exactly ``few`` samples as few-shot).

    Returns:
        ``{"many", "medium", "few"}``, each bool ``[C]`` on the CPU.
    """
    if not few <= many + 1:
        raise LongtailError(f"few={few} is above many={many}: a class would be both many- and few-shot")
    counts = counts_as_float64(class_counts)
    groups = {"many": counts > many, "few": counts < few}
    return {"many": groups["many"], "medium": ~groups["many"] & ~groups["few"], "few": groups["few"]}


def head_and_tail(class_counts: Tensor | Sequence[int], *, head: int = 5) -> dict[str, Tensor]:
    """The most frequent classes and the rest (Table 8 of the paper: 5 and 14 verbs).

    Args:
        class_counts: Training samples of each class, ``[C]``; of equally frequent classes the first ones are the head.
        head: Number of head classes.

    Returns:
        ``{"head", "tail"}``, each bool ``[C]`` on the CPU.
    """
    counts = counts_as_float64(class_counts)
    if head < 1:
        raise LongtailError(f"head={head}: at least one class must be the head")
    first = torch.zeros(len(counts), dtype=torch.bool)
    first[counts.argsort(descending=True, stable=True)[:head]] = True
    return {"head": first, "tail": ~first}


def shot_accuracy(accuracy: Tensor, groups: dict[str, Tensor]) -> dict[str, float | None]:
    """Mean accuracy over the classes of each group; None for a group without a measured class.

    Args:
        accuracy: Accuracy of each class, ``[C]``; NaN for a class without samples, which is left out.
        groups: From `shot_groups`.
    """
    members = {name: accuracy[group & ~accuracy.isnan()] for name, group in groups.items()}
    return {name: float(values.mean()) if len(values) else None for name, values in members.items()}


class ShotAccuracy:
    """Accuracy of all samples, and mean class accuracy of the many-, medium- and few-shot classes.

    ``"all"`` is the share of samples that are right; the groups are means over classes, as the field reports them,
    with classes that the split lacks left out. Under ``torch.distributed``, ``compute`` sums over all processes.

    Args:
        class_counts: Training samples of each class, ``[C]``.
        many: A class with more training samples is many-shot.
        few: A class with fewer training samples is few-shot.
    """

    def __init__(self, class_counts: Tensor | Sequence[int], *, many: float = MANY, few: float = FEW) -> None:
        self.groups = shot_groups(class_counts, many=many, few=few)
        self.num_classes = len(self.groups["many"])
        self.reset()

    def reset(self) -> None:
        """Forget all counts."""
        self._counts = torch.zeros(2, self.num_classes, dtype=torch.int64)

    def to(self, device: torch.device | str) -> ShotAccuracy:
        """Move the counts; ``update`` does the same on its own."""
        self._counts = self._counts.to(device)
        return self

    @torch.inference_mode()
    def update(self, prediction: Tensor, target: Tensor, *, ignore_index: int = -100) -> None:
        """Count one batch: logits ``[B, C]`` or class indices ``[B]``, targets ``[B]`` but for ``ignore_index``."""
        counts = correct_counts(prediction, target, num_classes=self.num_classes, ignore_index=ignore_index)
        self._counts = self._counts.to(counts.device) + counts

    def compute(self) -> dict[str, float | None]:
        """``{"all", "many", "medium", "few"}``, fractions in [0, 1]; None for an empty group."""
        right, total = all_reduce_sum(self._counts).cpu().double()
        if not bool(total.any()):
            raise LongtailError("no prediction was counted: call update(prediction, target) first")
        return {"all": float(right.sum() / total.sum()), **shot_accuracy(right / total, self.groups)}
