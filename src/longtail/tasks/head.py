"""``--tune head``: a frozen network whose features are computed once, and a classifier that is trained on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from longtail import activity, runfolder
from longtail.config import RunConfig
from longtail.data.base import ImageData
from longtail.data.groups import group_numbers
from longtail.data.record import SplitRecord
from longtail.features.choose import FOLDS, cross_validate
from longtail.features.extract import Extractor
from longtail.features.fit import folds_of
from longtail.features.frozen import FrozenNetwork, extractor_of, frozen_network
from longtail.features.kept import Kept, key_of
from longtail.features.project import COMPONENTS, projection_of
from longtail.features.store import digests_of, size_in_words
from longtail.functional import log_prior
from longtail.methods import ClassStats, Method
from longtail.models import create_model
from longtail.tasks.near import NearByFeatures
from longtail.tasks.vectors import VectorModel, VectorTask, can_be_folded

__all__ = ["HeadTask", "WholeModel"]

PROBE = 2e-5
"""Weight decay at which the features are compared."""
_PIECE = 4096


class WholeModel(VectorModel):
    """What a run with a frozen network is in use: images to logits.

    Args:
        extract: The frozen network.
        project: From its features to the vectors that the classifier was trained on.
        num_classes: Number of classes.
    """

    def __init__(self, extract: Extractor, project: nn.Linear, num_classes: int) -> None:
        super().__init__(project.out_features, num_classes)
        self.extract, self.project = extract, project

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(self.project(self.extract(images)[:, : self.project.in_features]))


@dataclasses.dataclass(frozen=True)
class _Frozen:
    """What does not learn: the network, and what is done to its features."""

    network: FrozenNetwork
    project: nn.Linear
    kept: Kept
    features: str
    """``last`` or ``levels``."""
    scores: Mapping[str, float]
    """What each of the two reached in cross-validation; empty: nothing was compared."""


class HeadTask(VectorTask):
    """Classification of images by a frozen network, whose features are the vectors.

    Features are kept beside the runs (see `FeatureStore`), and so is what is found from those of the training images:
    which of them to use, the projection, the weight decay of each loss.
    """

    def __init__(self, data: ImageData, vectors: Mapping[str, Tensor], *, frozen: _Frozen, **options: Any) -> None:
        super().__init__(data, vectors, kept=frozen.kept.value, **options)
        self.frozen = frozen
        self.mark = f"{frozen.network.digest} {frozen.kept.key} {frozen.features}"
        self._weights = frozen.network.source
        self.near_copies: Path | None = None  # a picture of them

    @classmethod
    def load(
        cls,
        config: RunConfig,
        *,
        device: torch.device,
        rank: int = 0,
        world: int = 1,
        record: SplitRecord | None = None,
        whole: bool = False,
    ) -> HeadTask:
        """The task of a configuration, for process ``rank`` of ``world``: features that are missing are computed."""
        assert config.model and config.image_size
        network = frozen_network(config.model, config.weights, config.image_size, str(device))
        folder = Path(config.feature_cache).expanduser() if config.feature_cache else None
        told = list(network.notes)
        near = None if whole else NearByFeatures(config, network, folder, told.append)
        data = cls.look_at(config, rank=rank, record=record, whole=whole, near=near)
        store = network.store(folder, data, told.append)
        splits = {name: getattr(data, name) for name in ("train", "val", "test", "select")}
        marks = {name: digests_of(split) for name, split in splits.items() if split is not None}
        raw = {name: network.rows(store, splits[name], own, data) for name, own in marks.items()}
        total, computed = sum(map(len, raw.values())), store.computed + (near.computed if near else 0)
        kept = Kept(store.folder, key_of(marks["train"], data.train.labels, group_numbers(data.train)))
        activity.now("choosing features by cross-validation on the training images")
        frozen = _choose(config, network, raw["train"], data, kept)
        project = frozen.project.to(device)  # in place
        vectors = dict(_projected_once(frozen, raw, marks))
        views = [vectors["train"]]
        for view in range(1, (config.views or 0) + 1):
            look = ("flip", "crop_scale", "color_jitter", "rotation")
            more = network.store(folder, data, told.append, view=view, **{name: getattr(data, name) for name in look})
            rows = network.rows(more, data.train, marks["train"], data, view=view)
            views.append(_projected(project, rows))
            total, computed = total + len(rows), computed + more.computed
        vectors["train"] = torch.stack(views)
        if computed:
            where = f"kept in {store.folder.parent}" if store.folder else "not kept"
            told.append(f"features: {computed:,} of {total:,} computed ({size_in_words(store.bytes)} {where})")
        told.append(_account(frozen))
        task = cls(
            data,
            vectors,
            frozen=frozen,
            kind=config.head or "linear",
            model=config.model,
            image_size=config.image_size,
            device=device,
            seed=config.seed,
            rank=rank,
            world=world,
        )
        task.near_copies = near.picture(data) if near else None
        task.told = tuple(told)
        return task

    @classmethod
    def restore(cls, info: Mapping[str, Any], config: RunConfig, method: Method) -> nn.Module:
        """The whole model of a finished run, ready for its weights: from images to logits."""
        described = info.get("architecture") or {"name": info["model"], "args": None}
        network = create_model(described["name"], args=described["args"], num_classes=2, image_size=info["image_size"])
        extract = extractor_of(network, levels=info["features"] == "levels")
        num_classes = len(info["class_names"])
        project = nn.Linear(info["feature_width"], info["width"])
        model = WholeModel(extract, project, num_classes)
        stats = ClassStats(class_counts=info["class_counts"]["train"], bare=True)
        model.put_in(method.parts(stats), info["head"])
        return model

    def frozen_part(self) -> tuple[Path | None, dict[str, Tensor]]:
        """What the classifier needs to judge images, which all runs on these training images share."""
        network, project = self.frozen.network.extract, self.frozen.project
        state = {f"extract.{k}": v for k, v in network.state_dict().items()}
        state |= {f"project.{k}": v for k, v in project.state_dict().items()}
        state = {k: v.cpu().contiguous() for k, v in state.items()}
        return self.frozen.kept.save(f"frozen-{self.frozen.features}.safetensors", state, once=True), state

    def pictures(self) -> Mapping[str, Path]:
        """The largest groups of near copies."""
        return {} if self.near_copies is None else {runfolder.NEAR_COPIES: self.near_copies}

    def description(self) -> dict[str, Any]:
        """As of images, with what rebuilds the whole model and what was chosen."""
        scores = dict(self.frozen.scores)
        chosen = {"features": self.frozen.features, "feature_width": self.frozen.project.in_features}
        return super().description() | chosen | ({"features_cross_validated": scores} if scores else {})


def _choose(config: RunConfig, network: FrozenNetwork, rows: Tensor, data: ImageData, kept: Kept) -> _Frozen:
    """The features that predict the classes of the training images better out of fold, and their projection."""
    widths = {"last": network.extract.width, "levels": rows.shape[1]}

    def project(kind: str) -> nn.Linear:
        width = widths[kind]
        return kept.layer(f"project-{width}-{COMPONENTS}", lambda: projection_of(rows[:, :width]))

    def compare() -> dict[str, float]:
        labels, classes = data.train.labels, data.num_classes
        shift = log_prior(data.train.class_counts(classes))
        folds = folds_of(labels, folds=FOLDS, groups=group_numbers(data.train))

        def criterion(logits: Tensor, target: Tensor) -> Tensor:
            return nn.functional.cross_entropy(logits + shift, target)

        options = {"num_classes": classes, "folds": folds, "decays": (PROBE,)}
        return {
            kind: cross_validate(_projected(project(kind), rows), labels, criterion, **options)[0] for kind in widths
        }

    wanted, scores = config.features or "auto", {}
    if widths["last"] == widths["levels"]:
        wanted = "last"
    elif wanted == "auto" and not can_be_folded(data.train):
        wanted = "levels"
    elif wanted == "auto":
        scores = kept.value("features", compare)
        wanted = max(scores, key=lambda kind: scores[kind])
    return _Frozen(network, project(wanted), kept, wanted, scores)


_last: dict[tuple[str, ...], dict[str, Tensor]] = {}
"""The vectors of the run before: those of the next one in a comparison are mostly the same."""


def _projected_once(
    frozen: _Frozen, raw: Mapping[str, Tensor], marks: Mapping[str, Sequence[bytes]]
) -> Mapping[str, Tensor]:
    """The vectors of all splits."""
    key = (frozen.network.digest, frozen.kept.key, frozen.features, str(frozen.project.weight.device))
    key += tuple(f"{name} {key_of(own)}" for name, own in marks.items())
    if key not in _last:
        _last.clear()
        _last[key] = {name: _projected(frozen.project, rows) for name, rows in raw.items()}
    return _last[key]


@torch.inference_mode()
def _projected(project: nn.Linear, rows: Tensor) -> Tensor:
    """Rows float16 ``[N, D]`` to vectors float32 ``[N, K]``; a projection of fewer features takes the first ones."""
    pieces = rows[:, : project.in_features].split(_PIECE)
    return torch.cat([project(piece.to(project.weight.device).float()) for piece in pieces]).clone()


def _account(frozen: _Frozen) -> str:
    text = f"{frozen.features} features of {frozen.network.name}, {frozen.project.out_features} components"
    if not frozen.scores:
        return text
    scores = ", ".join(f"{kind} {score:.1%}" for kind, score in frozen.scores.items())
    return f"{text}: chosen by cross-validation on the training images ({scores})"
