"""Every loss module and per-sample loss of the package, built for four classes (boxes: and the background)."""

from __future__ import annotations

from collections.abc import Callable

import torch

from longtail import functional as f
from longtail.difficulty import ClassDifficulty
from longtail.losses import (
    BalancedBoxesLoss,
    BalancedSoftmaxLoss,
    BoxEqualizationLoss,
    BoxSeesawLoss,
    CDTLoss,
    ClassWeightedLoss,
    EqualizationLoss,
    FocalLoss,
    GroupSoftmaxLoss,
    LDAMLoss,
    LogitAdjustedLoss,
    SeesawLoss,
    VSLoss,
    class_weighted,
    with_background,
)

CLASSES = 4
COUNTS = [50, 20, 6, 0]
IGNORED = torch.tensor([False, False, True, True])


def difficulty() -> ClassDifficulty:
    measured = ClassDifficulty(CLASSES)
    measured.step([0.9, 0.5, 0.2, 0.0])
    return measured


MODULES: dict[str, Callable[[], torch.nn.Module]] = {
    "cross-entropy": lambda: ClassWeightedLoss(difficulty()),
    "smoothed": lambda: ClassWeightedLoss(torch.tensor([1.0, 2, 3, 0]), label_smoothing=0.1, reduction="weighted_mean"),
    "focal, weighted": lambda: ClassWeightedLoss(difficulty(), base="focal", gamma=2.0),
    "brier": lambda: ClassWeightedLoss(difficulty(), base="mse", reduction="sum"),
    "hinge": lambda: ClassWeightedLoss(difficulty(), base="hinge"),
    "a user's": lambda: ClassWeightedLoss(difficulty(), base=torch.nn.CrossEntropyLoss(reduction="none")),
    "shifted": lambda: class_weighted(ClassWeightedLoss(None), difficulty(), form="logit"),
    "two weights": lambda: class_weighted(LDAMLoss(COUNTS, weight=[1.0, 1, 2, 2]), difficulty()),
    "focal": lambda: FocalLoss(gamma=2.0),
    "balanced softmax": lambda: BalancedSoftmaxLoss(COUNTS),
    "logit adjustment": lambda: LogitAdjustedLoss(COUNTS, tau=0.5),
    "vs": lambda: VSLoss(COUNTS),
    "cdt": lambda: CDTLoss(COUNTS),
    "ldam": lambda: LDAMLoss(COUNTS),
    "eql": lambda: EqualizationLoss(COUNTS, threshold=0.2, gamma=1.0),  # gamma = 1: nothing is drawn
    "sigmoid eql": lambda: EqualizationLoss(COUNTS, threshold=0.2, gamma=1.0, form="sigmoid"),
    "seesaw": lambda: SeesawLoss(CLASSES),
}
"""Called with logits ``[N, 4]`` and labels ``[N]``."""

BOXES: dict[str, Callable[[], torch.nn.Module]] = {
    "cross-entropy of boxes": lambda: with_background(ClassWeightedLoss(difficulty()), CLASSES),
    "balanced boxes": lambda: BalancedBoxesLoss([9, 5, 2, 1], [20, 9, 3, 1]),
    "eql of boxes": lambda: BoxEqualizationLoss([9, 5, 2, 1], 10, threshold=0.3),
    "seesaw of boxes": lambda: BoxSeesawLoss(CLASSES),
    "groups": lambda: GroupSoftmaxLoss([200, 50, 5, 1], beta=1e6),  # beta: all others are kept, nothing is drawn
}
"""Called with logits ``[N, box_logits(loss)]`` and labels ``[N]``, 0 for the background."""

FUNCTIONS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "focal_loss": f.focal_loss,
    "sigmoid_focal_loss": lambda z, y: f.sigmoid_focal_loss(z, y, alpha=0.25),
    "mse_loss": f.mse_loss,
    "hinge_loss": f.hinge_loss,
    "shifted_cross_entropy": lambda z, y: f.shifted_cross_entropy(z, y, shift=f.log_prior(COUNTS)),
    "ldam_loss": lambda z, y: f.ldam_loss(z, y, f.ldam_margins(COUNTS)),
    "softmax_equalization_loss": lambda z, y: f.softmax_equalization_loss(z, y, IGNORED),
    "sigmoid_equalization_loss": lambda z, y: f.sigmoid_equalization_loss(z, y, IGNORED),
    "seesaw_loss": lambda z, y: f.seesaw_loss(z, y, torch.tensor(COUNTS)),
}
"""Called with logits ``[N, 4]`` and labels ``[N]``; one loss a sample."""


def box_logits(loss: torch.nn.Module) -> int:
    """Columns of the logits that a loss of boxes takes."""
    return getattr(loss, "num_logits", CLASSES + 1)
