"""Folds that follow from the samples themselves, whatever their order and however often each is there."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from scipy.sparse import issparse

__all__ = ["digests", "folds_by_content"]


def folds_by_content(x: Any, target: Any, counts: Any, *, folds: int, seed: int) -> Any:
    """The fold of each sample: the different ones of each class are dealt out in an order that they fix.

    Args:
        x: Samples, an array, table or sparse matrix of N rows.
        target: Class indices ``[N]``.
        counts: Which samples there are to deal out, bool ``[N]``.
        folds: Number of folds.
        seed: Of the order.

    Returns:
        int64 ``[N]``, -1 for what does not count; copies of one sample are in one fold.
    """
    key, fold, dealt = digests(x, seed), np.full(len(target), -1), 0
    for c in range(target.max() + 1):
        own = np.flatnonzero((target == c) & counts)
        different, place = np.unique(key[own], return_inverse=True)
        fold[own] = (dealt + place) % folds
        dealt += len(different)
    return fold


def digests(x: Any, seed: int) -> Any:
    """A number for each row that depends on its values alone, uint64 ``[N]``."""
    if issparse(x):
        pairs = zip(x.indptr[:-1], x.indptr[1:], strict=True)
        rows = (x.indices[a:b].tobytes() + x.data[a:b].tobytes() for a, b in pairs)
    else:
        values = np.asarray(x)
        rows = (repr(row.tolist()).encode() if values.dtype == object else row.tobytes() for row in values)
    digests = (hashlib.blake2b(row, digest_size=8, salt=str(seed).encode()[:16]).digest() for row in rows)
    return np.array([int.from_bytes(digest, "little") for digest in digests], dtype=np.uint64)
