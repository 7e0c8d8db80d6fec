"""`labels_of`: the class of every sample of a data set, without reading an image."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from longtail.errors import LongtailError

__all__ = ["labels_of"]

_NAMES = ("targets", "labels", "_labels")
"""What torchvision's data sets, and most of others, call them."""


def labels_of(dataset: Any, *, column: str | None = None) -> Tensor:
    """The class index of every sample in its order, as samplers and methods take them: no sample is read.

    It knows ``Subset``, ``ConcatDataset``, ``TensorDataset`` (its last tensor), what keeps its labels in ``targets`` or
    ``labels`` as torchvision's data sets do (``ImageFolder``, ``CIFAR100``; their ``target_transform`` is applied),
    timm's ``ImageDataset``, and a ``datasets.Dataset`` of Hugging Face.

    Args:
        dataset: One whose sample i has one class.
        column: Of a Hugging Face data set: the column with the classes; default ``label`` or ``labels``, else the only
            column of class labels.

    Returns:
        int64 ``[N]``.

    Raises:
        LongtailError: there are no labels to be found, or they are no class indices, one per sample.
    """
    if isinstance(dataset, Mapping):
        raise LongtailError(f"{_name(dataset)} holds several splits: give one, of {', '.join(map(str, dataset))}")
    if hasattr(dataset, "column_names") and hasattr(dataset, "features"):
        return _checked(_of_table(dataset, column), dataset)
    if column is not None:
        raise LongtailError(f"column={column!r}: {_name(dataset)} has no columns; only Hugging Face data sets do")
    if isinstance(dataset, Subset):
        whole, rows = labels_of(dataset.dataset), torch.as_tensor(dataset.indices, dtype=torch.int64)
        return whole[rows]
    if isinstance(dataset, ConcatDataset):
        return _joined(dataset.datasets)
    if isinstance(dataset, TensorDataset):
        return _checked(dataset.tensors[-1], dataset)
    return _checked(_kept(dataset), dataset)


def _joined(datasets: list[Any]) -> Tensor:
    classes = [getattr(each, "classes", None) for each in datasets]
    for first, other in itertools.pairwise(classes):
        if first is not None and other is not None and list(first) != list(other):
            raise LongtailError("the parts of a ConcatDataset number their classes differently: give them one list")
    return torch.cat([labels_of(each) for each in datasets])


def _kept(dataset: Any) -> Any:
    """The labels that a data set keeps, after its ``target_transform``."""
    places: Iterator[tuple[Any, Any]] = ((dataset, getattr(dataset, name, None)) for name in _NAMES)
    home, found = next(((home, found) for home, found in places if found is not None), (dataset, None))
    if found is None:
        home = getattr(dataset, "reader", dataset)  # timm
        samples = getattr(home, "samples", None)
        found = None if samples is None else [sample[1] for sample in samples]
        home = dataset
    if found is None or callable(found):
        raise LongtailError(
            f"{_name(dataset)} does not tell its labels: give the sampler or the method a list of them, one per sample"
        )
    change: Callable[[Any], Any] | None = getattr(home, "target_transform", None)
    return found if change is None else [change(label) for label in _listed(found)]


def _of_table(dataset: Any, column: str | None) -> Any:
    """A column of a Hugging Face data set, whatever its format and transforms."""
    features = dataset.features
    if features is None or not hasattr(dataset, "__getitem__"):
        raise LongtailError(f"{_name(dataset)} is no table of samples: give one of its splits, read as a whole")
    classes = [name for name, kind in features.items() if type(kind).__name__ == "ClassLabel"]
    usual = [name for name in ("label", "labels") if name in features]
    if column is None and not usual and len(classes) != 1:
        known = ", ".join(features)
        raise LongtailError(f"which column holds the classes? Say labels_of(dataset, column=...): there are {known}")
    name = column or (usual or classes)[0]
    if name not in features:
        raise LongtailError(f"the data set has no column {name!r}: there are {', '.join(features)}")
    values = dataset.with_format(None)[name][:]
    if any(isinstance(value, str) for value in values[:1]):
        raise LongtailError(f"column {name!r} holds text: dataset.class_encode_column({name!r}) numbers it")
    return values


def _listed(found: Any) -> list[Any]:
    return found.tolist() if hasattr(found, "tolist") else list(found)


def _checked(found: Any, dataset: Any) -> Tensor:
    try:
        labels = torch.as_tensor(_listed(found))
        size = len(dataset)
    except (TypeError, ValueError, RuntimeError) as error:
        raise LongtailError(f"the labels of {_name(dataset)} are no class indices, one per sample: {error}") from None
    if labels.dim() != 1 or labels.is_floating_point() or labels.dtype == torch.bool or len(labels) != size:
        kind = f"{str(labels.dtype).removeprefix('torch.')} {list(labels.shape)} for {size} samples"
        raise LongtailError(f"the labels of {_name(dataset)} are no class indices, one per sample: they are {kind}")
    if len(labels) and int(labels.min()) < 0:
        row = int((labels < 0).nonzero()[0])
        raise LongtailError(f"sample {row} of {_name(dataset)} has no label ({int(labels[row])}): leave it out")
    return labels.long()


def _name(dataset: Any) -> str:
    return type(dataset).__name__
