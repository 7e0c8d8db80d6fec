"""Files of embeddings: a row of numbers for each sample, with its label, in an npz, safetensors or parquet file."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from longtail.atomic import atomic
from longtail.data.arrays import check_npz
from longtail.data.base import ImageData, Split
from longtail.data.layout import split_named
from longtail.data.table import by_number
from longtail.errors import LongtailError
from longtail.names import brief, nfc

__all__ = ["ENDINGS", "Vectors", "check_ending", "read_features", "read_vectors", "write_features"]

ENDINGS = (".npz", ".safetensors", ".parquet")
_MOST = 1 << 36
"""Bytes of an npz file, unpacked."""
_NAMES = "class_names", "split_names", "group_names"
_TEXTS = "class_names", "split", "group", "name"


@dataclasses.dataclass(frozen=True)
class Vectors:
    """What a file of embeddings holds.

    Args:
        x: float32 ``[N, D]``, finite.
        y: The label of each row as a word, ``[N]``; None: there are none.
        class_names: The classes in their order.
        split: ``train``, ``val``, ``test`` or ``select`` of each row; None: there are no splits.
        group: What each row belongs to; empty: it is on its own. None: not known.
        name: What each row is of, such as a file; None: not known.
    """

    x: Tensor
    y: Sequence[str] | None
    class_names: Sequence[str]
    split: Sequence[str] | None = None
    group: Sequence[str] | None = None
    name: Sequence[str] | None = None


def read_vectors(path: Path, *, labels: bool = True) -> Vectors:
    """Read a file of embeddings; nothing in it can run code.

    npz: arrays ``x [N, D]`` (floating-point or whole numbers), ``y [N]`` (whole numbers or text), and if you like
    ``split``, ``group``, ``name`` ``[N]``, and ``class_names``, to which whole numbers in ``y`` are indices. parquet:
    the same as columns, ``x`` of lists. safetensors: tensors ``x`` and ``y``; ``split`` and ``group`` as whole numbers
    that index ``split_names`` and ``group_names``, which stand as JSON in the metadata, with ``class_names`` and
    ``name``.

    Args:
        path: The file.
        labels: Whether ``y`` must be there.

    Raises:
        LongtailError: no such file, an array that is missing or of another shape, numbers that are not finite, a split
            of an unknown name.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise LongtailError(f"{path} is no file of features: it must end in {', '.join(ENDINGS)}")
    if not path.is_file():
        raise LongtailError(f"{path} " + ("is a folder: name a file" if path.is_dir() else "does not exist"))
    try:
        content = {".npz": _npz, ".safetensors": _safetensors, ".parquet": _parquet}[ending](path)
        return _checked(path, content, labels=labels)
    except LongtailError:
        raise
    except Exception as error:  # whatever a damaged file makes its library raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise LongtailError(f"{path} cannot be read ({reason}): write it again") from None


def read_features(path: Path) -> tuple[dict[str, Split], list[str], list[str]]:
    """As the other readers: splits by name, class names, notes.

    Raises:
        LongtailError: see `read_vectors`; a class without a training row, the same row with two labels.
    """
    own = read_vectors(path)
    assert own.y is not None
    index = {name: c for c, name in enumerate(own.class_names)}
    labels = torch.tensor([index[word] for word in own.y], dtype=torch.int64)
    where = own.split or ["train"] * len(own.x)
    if "train" not in where:
        raise LongtailError(f"{path}: no row has the split train (there are {brief(sorted(set(where)))})")
    splits = {}
    for name in dict.fromkeys(("train", *where)):
        rows = torch.tensor([k for k, word in enumerate(where) if word == name])
        groups = None if own.group is None else [own.group[int(k)] for k in rows]
        splits[name] = Split(own.x[rows], labels[rows], groups=groups)
    if empty := [own.class_names[c] for c, n in enumerate(splits["train"].class_counts(len(index))) if n == 0]:
        raise LongtailError(f"{path}: classes without a training row: {brief(empty)}")
    return splits, list(own.class_names), _equal_rows(own, where)


def write_features(path: Path, data: ImageData, rows: Mapping[str, Tensor]) -> None:
    """Write the features of a data set's splits so that `read_features` gives the same splits, classes and groups.

    Args:
        path: Its ending says the form.
        data: The splits.
        rows: Of each split, ``[N, D]``.

    Raises:
        LongtailError: another ending, a package that is missing, a file that cannot be written.
    """
    parts = {name: getattr(data, name) for name in rows}
    names = list(data.class_names)
    x = torch.cat(list(rows.values())).cpu()
    y = torch.cat([part.labels for part in parts.values()])
    split = [name for name, part in parts.items() for _ in range(len(part))]
    grouped = any(part.groups is not None and any(part.groups) for part in parts.values())
    group = [g for part in parts.values() for g in (part.groups or [""] * len(part))] if grouped else None
    listed = all(not part.in_memory for part in parts.values())
    known = [str(key) for part in parts.values() for key in part.images] if listed else None
    words = {"split": split} | ({"group": group} if group else {}) | ({"name": known} if known else {})
    check_ending(path)
    writers = {".npz": _write_npz, ".safetensors": _write_safetensors, ".parquet": _write_parquet}
    writers[path.suffix.lower()](path, x, y, names, words)


def check_ending(path: Path) -> None:
    """Say before features are computed that they cannot be written to such a file.

    Raises:
        LongtailError: another ending, a folder that is missing, a package that is.
    """
    if path.suffix.lower() not in ENDINGS:
        raise LongtailError(f"--out {path}: features are written as {', '.join(ENDINGS)}")
    if path.suffix.lower() == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise LongtailError(f"--out {path}: parquet files need the package pyarrow: pip install pyarrow")


# -- what a file holds -------------------------------------------------------------------------------------------------
def _npz(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        check_npz(archive, most=_MOST)
    content = {}
    with np.load(path, allow_pickle=False) as file:
        for name in {"x", "y", *_TEXTS} & set(file.files):
            try:
                content[name] = file[name]
            except ValueError as error:
                if "pickle" not in str(error):
                    raise
                raise LongtailError(
                    f"{path}: {name} holds Python objects, which are not read: write it as numbers, or as text with "
                    "numpy.asarray(..., dtype=str)"
                ) from None
    return content


def _safetensors(path: Path) -> dict[str, Any]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        told = file.metadata() or {}
        content: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    content = {name: content[name] for name in ("x", "y", "split", "group") if name in content}
    if "x" in content:
        content["x"] = content["x"].float()  # bfloat16 is none of numpy's
    content = {name: values.numpy() for name, values in content.items()}
    for name in (*_NAMES, "name"):
        if name in told:
            content[name] = np.asarray(_texts(path, name, told[name]), dtype=str)
    for name in ("split", "group"):
        names = content.pop(f"{name}_names", None)
        if name in content:
            known = (
                list(names) if names is not None else ["train", "val", "test", "select"] if name == "split" else None
            )
            content[name] = content[name] if known is None else _named(path, name, content[name], known)
    return content


def _texts(path: Path, name: str, text: str) -> list[str]:
    values = None
    with contextlib.suppress(ValueError, RecursionError):
        values = json.loads(text)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise LongtailError(f"{path}: {name} in its metadata must be a JSON list of texts")
    return values


def _named(path: Path, what: str, numbers: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Words for indices."""
    if numbers.dtype.kind not in "iu" or (
        numbers.size and not 0 <= int(numbers.min()) <= int(numbers.max()) < len(names)
    ):
        raise LongtailError(f"{path}: {what} must be whole numbers from 0 to {len(names) - 1}, indices of its names")
    return np.asarray(names, dtype=str)[numbers]


def _parquet(path: Path) -> dict[str, Any]:
    try:
        import pyarrow.parquet
    except ImportError:
        raise LongtailError(f"{path}: parquet files need the package pyarrow: pip install pyarrow") from None
    with pyarrow.parquet.ParquetFile(path) as file:
        wanted = [name for name in ("x", "y", "split", "group", "name") if name in file.schema_arrow.names]
        table = file.read(columns=wanted)
        told = (file.schema_arrow.metadata or {}).get(b"class_names")
    content: dict[str, Any] = {}
    for name in wanted:
        column = table.column(name).combine_chunks()
        if column.null_count and name in ("x", "y"):
            raise LongtailError(f"{path}: {column.null_count} rows have no {name}: remove them")
        if name != "x":
            values = column.to_pylist()
            numbers = name == "y" and all(isinstance(v, int) and not isinstance(v, bool) for v in values)
            content[name] = np.asarray(values) if numbers else np.asarray(["" if v is None else str(v) for v in values])
            continue
        if not pyarrow.types.is_list(column.type) and not pyarrow.types.is_fixed_size_list(column.type):
            raise LongtailError(f"{path}: x is a column of {column.type}: it must hold a list of D numbers in each row")
        flat = column.flatten()
        width = len(flat) // max(1, len(column))
        if any(n != width for n in column.value_lengths().to_pylist()):
            raise LongtailError(f"{path}: the rows of x have different lengths")
        content["x"] = flat.to_numpy(zero_copy_only=False).reshape(len(column), width)
    if told is not None:
        content["class_names"] = np.asarray(_texts(path, "class_names", told.decode("utf-8", "replace")), dtype=str)
    return content


def _checked(path: Path, content: Mapping[str, np.ndarray], *, labels: bool) -> Vectors:
    for name in ("x", "y") if labels else ("x",):
        if name not in content:
            raise LongtailError(f"{path} has no {name} (it has {brief(sorted(content)) or 'nothing that is known'})")
    x = content["x"]
    if x.ndim != 2 or x.dtype.kind not in "fiu" or 0 in x.shape:
        raise LongtailError(f"{path}: x must be numbers [N, D], not {x.dtype} {list(x.shape)}")
    for name in ("y", "split", "group", "name"):
        if name in content and content[name].shape != x.shape[:1]:
            raise LongtailError(f"{path}: {name} has shape {list(content[name].shape)}, x has {len(x)} rows")
    with np.errstate(over="ignore"):
        values = torch.from_numpy(np.array(x, dtype=np.float32))
    if len(bad := (~values.isfinite().all(1)).nonzero().flatten()):
        raise LongtailError(
            f"{path}: {len(bad)} rows of x hold NaN, infinity or numbers beyond float32, first row {int(bad[0])}: "
            "remove or mend them"
        )
    y, names = (
        _labels(path, content) if "y" in content else (None, _words(content.get("class_names", np.empty(0, str))))
    )
    split = _splits(path, content["split"]) if "split" in content else None
    group, name = (_words(content[key]) if key in content else None for key in ("group", "name"))
    return Vectors(values, y, names, split, group, name)


def _labels(path: Path, content: Mapping[str, np.ndarray]) -> tuple[list[str], list[str]]:
    y, given = content["y"], content.get("class_names")
    names = None if given is None else _words(given)
    if given is not None and names is not None and (given.ndim != 1 or len(set(names)) < len(names) or not all(names)):
        raise LongtailError(f"{path}: class_names must be different texts [C], none of them empty")
    if y.dtype.kind in "iu":
        if names is not None:
            return _words(_named(path, "y", y, names)), names
        if int(y.min()) < 0:
            raise LongtailError(
                f"{path}: y holds {int(y.min())}: labels must not be negative; leave rows without one out"
            )
        words = [str(value) for value in y.tolist()]
        return words, sorted(set(words), key=int)
    if y.dtype.kind not in "US":
        raise LongtailError(f"{path}: y must be whole numbers or text, not {y.dtype}")
    words = _words(y)
    if "" in words:
        raise LongtailError(f"{path}: {words.count('')} rows have an empty label: leave them out")
    if names is not None and (unknown := sorted(set(words) - set(names))):
        raise LongtailError(f"{path}: labels that are not in class_names: {brief(unknown)}")
    return words, names or sorted(set(words), key=by_number)


def _splits(path: Path, values: np.ndarray) -> list[str]:
    words = _words(values)
    known = {word: "select" if word.lower() == "select" else split_named(word) for word in set(words)}
    if unknown := sorted(word for word, split in known.items() if split is None):
        raise LongtailError(f"{path}: split must be train, val, test or select in each row, not {brief(unknown)}")
    return [str(known[word]) for word in words]


def _words(values: np.ndarray) -> list[str]:
    if values.dtype.kind == "S":
        return [nfc(value.decode("utf-8", "replace").strip()) for value in values.tolist()]
    return [nfc(str(value).strip()) for value in values.tolist()]


def _equal_rows(own: Vectors, where: Sequence[str]) -> list[str]:
    """What to say of rows with the same numbers in two splits, and under two labels."""
    from longtail.advice import noted

    assert own.y is not None
    seen: dict[bytes, list[int]] = {}
    for k, row in enumerate(own.x.numpy()):
        seen.setdefault(row.tobytes(), []).append(k)
    twice = [rows for rows in seen.values() if len(rows) > 1]
    pairs: Counter[tuple[str, str]] = Counter()
    for rows in twice:
        splits = list(dict.fromkeys(where[k] for k in rows))
        pairs.update((splits[0], other) for other in splits[1:])
    notes = [noted("LT001", f"{n} rows of {one} are in {other} as well") for (one, other), n in pairs.items()]
    if mixed := [rows for rows in twice if len({own.y[k] for k in rows}) > 1]:
        first = mixed[0]
        labels = brief(list(dict.fromkeys(own.y[k] for k in first)))
        notes.append(noted("LT002", f"{len(mixed)} rows are there with several labels, e.g. row {first[0]} ({labels})"))
    return notes


# -- writing -----------------------------------------------------------------------------------------------------------
def _write_npz(path: Path, x: Tensor, y: Tensor, names: list[str], words: Mapping[str, Sequence[str]]) -> None:
    arrays = {"x": x.numpy(), "y": y.numpy(), "class_names": np.asarray(names, dtype=str)}
    arrays |= {name: np.asarray(values, dtype=str) for name, values in words.items()}

    def write(place: Path) -> None:
        with open(place, "wb") as file:
            np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]

    _write(path, write)


def _write_safetensors(path: Path, x: Tensor, y: Tensor, names: list[str], words: Mapping[str, Sequence[str]]) -> None:
    from safetensors.torch import save_file

    tensors, about = {"x": x.contiguous(), "y": y.contiguous()}, {"class_names": names}
    for name in ("split", "group"):
        if name in words:
            known = list(dict.fromkeys(words[name]))
            index = {word: k for k, word in enumerate(known)}
            tensors[name] = torch.tensor([index[word] for word in words[name]])
            about[f"{name}_names"] = known
    if "name" in words:
        about["name"] = list(words["name"])
    _write(path, lambda place: save_file(tensors, place, {key: json.dumps(value) for key, value in about.items()}))


def _write_parquet(path: Path, x: Tensor, y: Tensor, names: list[str], words: Mapping[str, Sequence[str]]) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(x.float().flatten().numpy()), x.shape[1])
    table = pyarrow.table({"x": rows, "y": [names[c] for c in y.tolist()]} | {k: list(v) for k, v in words.items()})
    table = table.replace_schema_metadata({"class_names": json.dumps(names)})
    _write(path, lambda place: pyarrow.parquet.write_table(table, place))


def _write(path: Path, write: Any) -> None:
    try:
        atomic(path, write)
    except OSError as error:
        raise LongtailError(f"{path} cannot be written ({error.strerror or error}): choose another --out") from None
