"""Published sets: small images, which are held in memory, and the long-tailed ones that are lists of files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from longtail.data.arrays import read_cifar, read_digits, read_idx_pair
from longtail.data.base import Split
from longtail.data.catalogue import places_of
from longtail.data.filelists import read_lists
from longtail.data.splits import tail_rows
from longtail.errors import LongtailError
from longtail.names import brief

__all__ = ["pick_4v9", "read_long_tailed", "read_published", "read_sklearn_digits"]


_FASHION = ["T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"]


def read_sklearn_digits(path: None) -> tuple[dict[str, Split], list[str], list[str]]:
    """The digits that come with scikit-learn."""
    return {"train": read_digits()}, [str(d) for d in range(10)], []


def read_published(
    path: Path | None, *, name: str, torchvision: str, download: bool = False
) -> tuple[dict[str, Split], list[str], list[str]]:
    """The splits that the files have, before any is cut, and the names of the classes.

    Args:
        path: Folder of the files; None: looked for, see `places_of`.
        name: Of MNIST's kind or of CIFAR's.
        torchvision: What torchvision calls it.
        download: Fetch what is missing with torchvision.

    Raises:
        LongtailError: the files are not there, or cannot be read.
    """
    places = places_of("mnist" if name == "mnist-4v9" else name, path)
    find = _find_cifar if name.startswith("cifar") else _find_idx
    found = find(name, places)
    if found is None and download:
        _download(torchvision, places[0])
        found = find(name, places)
    if found is None:
        wanted = {"cifar10": "cifar-10-batches-py/data_batch_1 or cifar10_train.npz"}
        wanted["cifar100"] = "cifar-100-python/train or cifar100_train.npz"
        file = wanted.get(name, "train-images-idx3-ubyte[.gz] and its three companions")
        raise LongtailError(
            f"{name} was not found: looked for {file} in {brief([str(p) for p in places])}; "
            f"give {name}:PATH or use --download"
        )
    if name.startswith("cifar"):
        train, test, names = read_cifar(found[0], 100 if name == "cifar100" else 10)
    else:
        train, test = read_idx_pair(found[0], found[1]), read_idx_pair(found[2], found[3])
        names = _FASHION if name == "fashion-mnist" else [str(d) for d in range(10)]
    if name == "mnist-4v9":
        train, test, names = _keep_4_and_9(train), _keep_4_and_9(test), ["4", "9"]
    if train.images.shape[1:] != test.images.shape[1:]:  # type: ignore[union-attr]
        raise LongtailError(f"{found[0].parent}: training and test images differ in size")
    return {"train": train, "test": test}, list(names), []


def _find_idx(name: str, places: list[Path]) -> list[Path] | None:
    stems = [f"{part}-{what}" for part in ("train", "t10k") for what in ("images-idx3-ubyte", "labels-idx1-ubyte")]
    kind = "FashionMNIST" if name == "fashion-mnist" else "MNIST"
    for folder in (place / below for place in places for below in ("", f"{kind}/raw", "raw")):
        files = [next((f for e in ("", ".gz") if (f := folder / (s + e)).is_file()), None) for s in stems]
        if all(files):
            return [f for f in files if f]
    return None


def _find_cifar(name: str, places: list[Path]) -> list[Path] | None:
    below, first = ("cifar-10-batches-py", "data_batch_1") if name == "cifar10" else ("cifar-100-python", "train")
    for folder in (place / b for place in places for b in ("", below)):
        if (folder / first).is_file() or (folder / f"{name}_train.npz").is_file():
            return [folder]
    return None


def _download(torchvision_name: str, folder: Path) -> None:
    try:
        from torchvision import datasets
    except ImportError:
        raise LongtailError("--download needs torchvision: pip install 'longtail[train]'") from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        getattr(datasets, torchvision_name)(str(folder), download=True)
    except (OSError, RuntimeError) as error:
        raise LongtailError(f"{torchvision_name} could not be fetched into {folder}: {error}") from None


def read_long_tailed(
    path: Path | None,
    *,
    name: str,
    pattern: str,
    folders: Sequence[str],
    root: Path | None = None,
    download: bool = False,
) -> tuple[dict[str, Split], list[str], list[str]]:
    """A set that is published as lists over the images of another one, looked for as `places_of` tells."""
    places = [place for place in places_of(name, path) if place.is_dir()]
    if not places:
        how = "torchvision cannot fetch it" if download else "give its folder"
        raise LongtailError(
            f"{name} was not found in {brief([str(p) for p in places_of(name, path)])}: {how}, {name}:PATH"
        )
    return read_lists(places[0], pattern=pattern, folders=folders, root=root)


def pick_4v9(splits: dict[str, Split], imbalance: float, seed: int) -> None:
    """The paper's two-class problem: 5000 training images, 4 the head and 9 the tail; 800 test images per class."""
    head = round(5000 * imbalance / (1 + imbalance))
    counts = [head, 5000 - head]
    train, test = splits["train"], splits["test"]
    have = train.class_counts(2)
    if counts[1] < 1 or counts[0] > have[0] or counts[1] > have[1]:
        raise LongtailError(
            f"mnist-4v9 with imbalance {imbalance:g} needs {counts} images of 4 and 9, there are {have}"
        )
    splits["train"] = train.subset(tail_rows(train.labels, counts, seed))
    splits["test"] = test.subset(tail_rows(test.labels, [800, 800], seed))


def _keep_4_and_9(split: Split) -> Split:
    kept = split.subset(((split.labels == 4) | (split.labels == 9)).nonzero().flatten())
    return Split(kept.images, (kept.labels == 9).long())
