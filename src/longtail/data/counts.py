"""The count laws of long-tailed benchmarks; free of torch."""

from __future__ import annotations

from longtail.errors import LongtailError

__all__ = ["long_tail_counts"]


def long_tail_counts(max_count: int, num_classes: int, *, imbalance: float, kind: str = "exp") -> list[int]:
    """Number of training images of each class in a long-tailed subset, largest class first.

    ``exp``: ``int(max_count * mu ** (c / (C - 1)))`` with ``mu = 1 / imbalance``, the law of CIFAR-LT (Cui et al.,
    2019; Section 4.1 of the paper). ``step``: the first half of the classes (rounded up) keeps ``max_count``, the rest
    has ``int(max_count / imbalance)`` (Cao et al., 2019).

    Args:
        max_count: Images of the largest class, at least 1.
        num_classes: C, at least 1.
        imbalance: Largest count over smallest, at least 1. Papers also write its inverse (0.01 for 100).
        kind: ``exp`` or ``step``.

    Returns:
        C counts, non-increasing. A count can be 0 when ``max_count < imbalance``.

    Raises:
        LongtailError: a value out of range, or an unknown kind.
    """
    if max_count < 1 or num_classes < 1:
        raise LongtailError(f"max_count and num_classes must be at least 1, not {max_count} and {num_classes}")
    if not 1 <= imbalance < float("inf"):
        hint = f"; did you mean {1 / imbalance:g}?" if 0 < imbalance < 1 else ""
        raise LongtailError(
            f"imbalance is the largest class count over the smallest, at least 1, not {imbalance}{hint}"
        )
    if kind == "exp":
        exponents = [c / max(num_classes - 1, 1) for c in range(num_classes)]
    elif kind == "step":
        exponents = [float(c >= (num_classes + 1) // 2) for c in range(num_classes)]
    else:
        raise LongtailError(f"unknown kind of imbalance {kind!r}: known are exp, step")
    # Division instead of a product with 1 / imbalance: the last count is then exact (4950 / 99 is 50, not 49.999...).
    return [int(max_count / imbalance**e) for e in exponents]
