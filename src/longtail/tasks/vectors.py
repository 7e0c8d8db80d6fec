"""Classification of vectors: embeddings of anything, and the features of a frozen network."""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from longtail.config import RunConfig
from longtail.data.base import ImageData, Split, joined
from longtail.data.groups import group_numbers
from longtail.data.loader import Batch, draw_key
from longtail.errors import LongtailError
from longtail.features.choose import DECAYS, FOLDS, choose_decay, cross_validate
from longtail.features.fit import folds_of, out_of_fold
from longtail.functional import log_prior
from longtail.methods import ClassStats, Method, Parts
from longtail.methods._heads import CosineHead
from longtail.tasks.base import put_in
from longtail.tasks.image import JUDGED, ImageTask

__all__ = ["VectorModel", "VectorTask", "can_be_folded"]

STEPS = 50
"""Steps of an epoch: the batch follows from the number of samples, so that a run takes as long for few as for many."""
SMALLEST_BATCH, LARGEST_BATCH = 8, 512
LARGEST_RATE = 12.0
COSINE_RATE = 0.02
"""Of a cosine classifier that begins with the class means, as in LIFT; a larger one forgets them at once."""
OUT_OF_FOLD = 5
_ITERATIONS = 40
"""Of an out-of-fold fit: enough for its predictions, not for the last digits of its weights."""
_REMEMBERED = 16
_out_of_folds: dict[tuple[str | None, str], Tensor] = {}
"""Out-of-fold logits by training vectors and loss: the methods of a comparison ask for the same ones."""
HIDDEN = 512
SCALE = 25.0
"""Of a cosine classifier's cosines, as in LIFT (Shi et al., ICML 2024)."""
_COMPONENTS = 256
"""Of out-of-fold fits: on the first components, a quarter of the time."""


class VectorModel(nn.Module):
    """A classifier of vectors ``[B, K]``; ``head`` is what methods replace.

    Args:
        width: K.
        num_classes: Number of classes.
        hidden: Units of a layer between; 0: none.
    """

    def __init__(self, width: int, num_classes: int, *, hidden: int = 0) -> None:
        super().__init__()
        self.stretch = math.sqrt(width) if hidden else 1.0  # layers are initialised for inputs of variance 1
        self.body = nn.Sequential(nn.Linear(width, hidden), nn.ReLU()) if hidden else nn.Identity()
        self.head: nn.Module = nn.Linear(hidden or width, num_classes)

    def put_in(self, parts: Parts | None, kind: str, start: Tensor | None = None) -> nn.Module:
        """Put the classifier in: the method's own, or one of the kind that is asked for; gives it back.

        Args:
            parts: Of the method.
            kind: ``cosine``, or any other for a linear one.
            start: What a cosine classifier begins with, ``[C, K]``, see `CosineHead`.
        """
        if kind == "cosine":
            parts, head = parts or Parts(), functools.partial(CosineHead, scale=SCALE, start=start)
            parts = parts if parts.head else dataclasses.replace(parts, head=head)
        return put_in(self, parts, (self, "head", self.head))  # pyright: ignore[reportArgumentType]

    def forward(self, vectors: Tensor) -> Tensor:
        return self.head(self.body(self.stretch * vectors))


class VectorTask(ImageTask):
    """Classification of vectors, one or several (views) of each training sample.

    Args:
        data: The splits, of which the labels and groups are used.
        vectors: Of each split, float32 ``[N, K]``, of mean square length about 1; ``train``: ``[V, N, K]``, V views.
        kept: Keeps what takes long: called with a name that tells all that a value depends on, and a function that
            finds the value, which is plain JSON.
        kind: Of classifier: ``linear``, ``cosine``, or ``mlp``, a linear one on a layer of `HIDDEN` units.
        **options: Of `ImageTask`.
    """

    learns: ClassVar[frozenset[str]] = ImageTask.learns - {"optimizer", "backbone_lr", "layer_decay"}
    on_features: ClassVar[bool] = True
    exports: ClassVar[bool] = True

    def __init__(
        self,
        data: ImageData,
        vectors: Mapping[str, Tensor],
        *,
        kept: Callable[[str, Callable[[], Any]], Any] | None = None,
        kind: str = "linear",
        **options: Any,
    ) -> None:
        super().__init__(data, **options)
        self.vectors = {name: x.to(self.device) for name, x in vectors.items()}
        self.kept = kept or (lambda _, find: find())
        self.mark: str | None = None  # what names the training vectors in this process
        self.kind = kind

    @property
    def width(self) -> int:
        """Numbers K in a vector."""
        return self.vectors["train"].shape[-1]

    # -- what only the data tell ---------------------------------------------------------------------------------------
    def training(self, config: RunConfig, parts: Parts) -> RunConfig:
        """Batch size by the number of samples, weight decay by cross-validation with the method's first loss.

        The learning rate is as large as the loss is flat: for vectors of length 1 its curvature is at most about twice
        the largest p (1 - p), p the share of a class. A cosine classifier has a small one: it begins near its end.
        """
        size = max(SMALLEST_BATCH, min(LARGEST_BATCH, round(len(self.data.train) / STEPS)))
        chosen: dict[str, Any] = {} if config.batch_size else {"batch_size": size}
        if config.lr is None and self.kind == "cosine" and parts.head is None:
            chosen["lr"] = COSINE_RATE
        elif config.lr is None:
            shares = torch.tensor(self.class_counts, dtype=torch.float64) / max(1, sum(self.class_counts))
            chosen["lr"] = min(LARGEST_RATE, 1 / max(float((shares * (1 - shares)).max()), 1e-6))
        if config.weight_decay is None:
            first = parts.stages[0].parts.get("criterion", parts.criterion) if parts.stages else parts.criterion
            chosen["weight_decay"] = self.decay_of(first)
        return dataclasses.replace(config, **chosen)

    def decay_of(self, criterion: Callable[[Tensor, Tensor], Tensor]) -> float:
        """The weight decay that predicts the classes best out of fold, in the mean over the classes."""
        x, y = self.vectors["train"][0], self.data.train.labels.to(self.device)
        if not can_be_folded(self.data.train):
            return DECAYS[len(DECAYS) // 2]
        own = copy.deepcopy(criterion) if isinstance(criterion, nn.Module) else criterion  # it may count what it sees
        mark = _fingerprint(own, self.data.num_classes, self.device)

        def find() -> list[float]:
            return cross_validate(x, y, own, num_classes=self.data.num_classes, folds=self._folds(FOLDS))

        try:
            return choose_decay(self.kept(f"decay-{self.data.num_classes}-{mark}", find))
        except LongtailError:  # a loss that is no function of the logits alone
            return self.decay_of(nn.functional.cross_entropy)

    def _folds(self, folds: int) -> Tensor:
        return folds_of(self.data.train.labels, folds=folds, groups=group_numbers(self.data.train)).to(self.device)

    def stats(self, **training: Any) -> ClassStats:
        """As for images, with out-of-fold predictions of the training samples."""
        return dataclasses.replace(super().stats(**training), out_of_fold=functools.partial(self._out_of_fold, {}))

    def _out_of_fold(self, layers: dict, criterion: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Fits with one weight decay, so that criteria are compared alike, each from ``layers``, those of the last."""
        key = (self.mark, _fingerprint(criterion, self.data.num_classes, self.device))
        if self.mark is None or key not in _out_of_folds:
            if len(_out_of_folds) >= _REMEMBERED:
                _out_of_folds.clear()
            _out_of_folds[key] = self._fit_out_of_fold(layers, criterion)
        return _out_of_folds[key]

    def _fit_out_of_fold(self, layers: dict, criterion: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        x, y = self.vectors["train"][0][:, :_COMPONENTS], self.data.train.labels.to(self.device)
        return out_of_fold(
            x,
            y,
            criterion,
            num_classes=self.data.num_classes,
            folds=self._folds(OUT_OF_FOLD),
            l2=self.decay_of(self._prior_criterion()),
            layers=layers,
            max_iter=_ITERATIONS,
        ).cpu()

    def _prior_criterion(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Balanced softmax."""
        shift = log_prior(self.class_counts).to(self.device)
        return lambda logits, target: nn.functional.cross_entropy(logits + shift, target)

    def refitted(self, config: RunConfig, method: Method) -> VectorTask | None:
        """With the held-out samples in the training split, if nothing is measured on them and we cut them ourselves."""
        data = self.data
        if not config.refit or data.val is None or data.own_val or method.needs_held_out:
            return None
        views = len(self.vectors["train"])
        both = torch.cat([self.vectors["train"], self.vectors["val"].expand(views, -1, -1)], 1)
        task = copy.copy(self)
        task.data = dataclasses.replace(data, train=joined(data.train, data.val), val=None)
        task.class_counts = task.data.train.class_counts(data.num_classes)
        task.vectors = {name: x for name, x in self.vectors.items() if name != "val"} | {"train": both}
        task.mark = None if self.mark is None else f"{self.mark} refit"
        task.kept = lambda name, find: self.kept(f"refit-{name}", find)
        return task

    # -- the model -----------------------------------------------------------------------------------------------------
    def build(self, parts: Parts | None = None, weights: str | None = None) -> tuple[nn.Module, nn.Module]:
        """A fresh classifier of the vectors, with a method's parts."""
        del weights  # of the network that the vectors are from
        if self.kind == "cosine" and parts is not None and parts.finish is not None and parts.head is None:
            raise LongtailError(
                "the method changes the lengths of the classifier's weights after training, and a cosine classifier "
                "has none: use a linear one"
            )
        hidden = HIDDEN if self.kind == "mlp" else 0
        model = VectorModel(self.width, self.data.num_classes, hidden=hidden)
        head = model.put_in(parts, self.kind, start=self._class_means() if self.kind == "cosine" else None)
        return model.to(self.device), head

    def _class_means(self) -> Tensor:
        """Of the training vectors, ``[C, K]``; zeros where there is none."""
        x, y = self.vectors["train"][0], self.data.train.labels.to(self.device)
        total = x.new_zeros(self.data.num_classes, self.width).index_add_(0, y, x)
        return total / torch.bincount(y, minlength=self.data.num_classes).clamp(min=1).unsqueeze(1)

    def description(self) -> dict[str, Any]:
        """As of images, with what rebuilds the classifier."""
        return super().description() | {"width": self.width, "head": self.kind}

    def _at_once(self) -> int:
        return JUDGED

    # -- batches -------------------------------------------------------------------------------------------------------
    def _loader(self, name: str, *, augment: bool) -> Any:
        vectors = self.vectors[name]
        vectors = vectors if vectors.ndim == 3 else vectors[None]
        seed = self._settings["seed"]
        return _Vectors(vectors if augment else vectors[:1], self.split(name).labels.to(self.device), seed)


def can_be_folded(split: Split) -> bool:
    """Whether there is enough for a cross-validation that says something: samples, and groups of them."""
    groups = group_numbers(split)
    return len(split) >= 4 * FOLDS and (groups is None or len(groups.unique()) >= 2 * FOLDS)


class _Vectors:
    """A loader of vectors in memory: of several views each sample gets one at random."""

    def __init__(self, vectors: Tensor, labels: Tensor, seed: int) -> None:
        self.vectors, self.labels, self.seed = vectors, labels, seed

    def __call__(
        self, batches: Iterable[Tensor], *, epoch: int = 0, rank: int = 0, world: int = 1, start: int = 0
    ) -> Iterator[Batch]:
        views = len(self.vectors)
        for number, batch in enumerate(itertools.islice(batches, start, None), start):
            index = batch[rank::world].to(self.labels.device)
            if views == 1:
                yield self.vectors[0, index], self.labels[index]
                continue
            generator = torch.Generator().manual_seed(draw_key(self.seed, epoch, number))
            view = torch.randint(views, (len(batch),), generator=generator)[rank::world].to(index.device)
            yield self.vectors[view, index], self.labels[index]

    def close(self) -> None:
        """Nothing to end."""


def _fingerprint(criterion: Callable[[Tensor, Tensor], Tensor], num_classes: int, device: torch.device) -> str:
    """What a loss does to some logits: losses that are equal, whatever they are called, have the same."""
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(256, num_classes, generator=draw).to(device).requires_grad_()
    target = torch.arange(256, device=device) % num_classes
    loss = criterion(logits, target)
    (slope,) = torch.autograd.grad(loss, logits)
    values = torch.cat([loss.detach().reshape(1), slope.flatten()]).double().cpu()
    return hashlib.sha256(torch.round(values, decimals=6).numpy().tobytes()).hexdigest()[:16]
