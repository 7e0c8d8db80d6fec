"""Everything that is reported about a classifier on one split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from longtail.checks import check_labels
from longtail.difficulty import all_reduce_sum
from longtail.errors import LongtailError
from longtail.evenness import evenness
from longtail.functional import per_class_scores, top_k_hits
from longtail.functional.counting import answers, confusion_cells
from longtail.metrics._confusion import Confusion
from longtail.metrics.shot import head_and_tail, shot_accuracy, shot_groups
from longtail.shots import FEW, MANY

__all__ = ["Classification"]


class Classification:
    """Confusion matrix and top-5 hits of one split, and all scores that follow from them.

    Under ``torch.distributed`` each process updates with its own samples, without padding duplicates, and ``compute``
    sums over all processes (every process must call it). Memory: ``8 * C ** 2`` bytes up to 2,000 classes;
    above, 16 bytes for each pair of a true and a predicted class that occurred.

    Args:
        class_counts: Training samples of each class, ``[C]``: they decide the shot groups.
        many: A class with more training samples is many-shot.
        few: A class with fewer training samples is few-shot.
        head: So many most frequent classes are judged apart from the rest; 0: no such groups.
    """

    def __init__(
        self, class_counts: Tensor | Sequence[int], *, many: float = MANY, few: float = FEW, head: int = 0
    ) -> None:
        self.groups = shot_groups(class_counts, many=many, few=few)
        self.head = head_and_tail(class_counts, head=head) if head else {}
        self.num_classes = len(self.groups["many"])
        self.reset()

    def reset(self) -> None:
        """Forget all counts."""
        self._confusion = Confusion(self.num_classes)
        self._top5 = torch.zeros(2, dtype=torch.int64)  # hits, samples that came as logits

    def to(self, device: torch.device | str) -> Classification:
        """Move the counts; ``update`` does the same on its own."""
        self._confusion, self._top5 = self._confusion.to(device), self._top5.to(device)
        return self

    @torch.inference_mode()
    def update(self, prediction: Tensor, target: Tensor, *, ignore_index: int = -100) -> None:
        """Count one batch.

        Args:
            prediction: Logits ``[B, C]``, or class indices ``[B]`` (there is no top-5 then).
            target: Class indices of any integer type, ``[B]``.
            ignore_index: Targets with this value are not counted.

        Raises:
            LongtailError: shapes that do not fit, another label or a predicted index outside [0, C), or NaN logits.
        """
        predicted, label, counted = answers(prediction, target, num_classes=self.num_classes, ignore_index=ignore_index)
        kept = slice(None) if counted is None else counted
        predicted, label = predicted[kept], label[kept]
        if prediction.shape == target.shape:
            check_labels(predicted, self.num_classes)
        else:
            logits = prediction.movedim(1, -1).reshape(-1, self.num_classes)[kept]
            hits = top_k_hits(logits, label, k=5)
            self._top5 = self._top5.to(hits.device)
            self._top5[0] += hits.sum()
            self._top5[1] += hits.numel()
        self._confusion.update(label, predicted)

    def compute(self) -> dict[str, Any]:
        """All scores, as fractions in [0, 1].

        Returns:
            ``top1`` and ``top5`` over samples (``top5`` None unless all predictions were logits); ``precision``,
            ``recall`` and ``f1`` averaged over the classes of the split (a class never predicted has precision 0);
            ``many``, ``medium``, ``few``: mean class accuracy of the group, None if it is empty; ``worst_tenth``: mean
            accuracy of the worst ``max(1, C // 10)`` of the C classes of the split; ``geometric_mean`` of the
            accuracies, where one below 0.01 counts as 0.01; ``lowest_class``; ``per_class``: list of C accuracies, None
            for a class without samples; ``confusion``: int64 ``[C, C]`` on the CPU, rows are true classes; with more
            than 2,000 classes a sparse tensor. With ``head`` also ``head_precision``, ``head_recall``,
            ``tail_precision`` and ``tail_recall``, means over the classes of the group, None if the split has none of
            it.

        Raises:
            LongtailError: nothing was counted.
        """
        confusion = self._confusion.total()
        hits, ranked = all_reduce_sum(self._top5).tolist()
        true, guessed, count = confusion_cells(confusion)
        samples = int(count.sum())
        if samples == 0:
            raise LongtailError("no prediction was counted: call update(prediction, target) first")
        scores = per_class_scores(confusion)
        per_class = [None if a != a else a for a in scores["recall"].tolist()]
        return {
            "top1": int(count[true == guessed].sum()) / samples,
            "top5": hits / samples if ranked == samples else None,
            **{name: float(scores[name].nanmean()) for name in ("precision", "recall", "f1")},
            **shot_accuracy(scores["recall"], self.groups),
            **{
                f"{group}_{score}": shot_accuracy(scores[score], {group: classes})[group]
                for group, classes in self.head.items()
                for score in ("precision", "recall")
            },
            **evenness(per_class),
            "per_class": per_class,
            "confusion": confusion,
        }
