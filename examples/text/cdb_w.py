"""Text: classes that the model finds hard weigh more in the loss (CDB-W).

python examples/text/cdb_w.py

Which library does a docstring come from? Sentences of the installed packages, hundreds of one and a handful of another,
as bags of hashed words; the lines are the same before any other network that gives logits. One training says little
where the rarest class has eight sentences: five draws of the sentences are trained with and without the weights.
"""

import functools
import importlib
import inspect
import re
import zlib

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from longtail import ClassDifficulty, ClassWeightedLoss, long_tail_counts

LIBRARIES = ("torch.nn.functional", "numpy", "scipy.stats", "sklearn.metrics", "matplotlib.pyplot", "statistics")
WORDS, LENGTH = 4096, 40


@functools.cache
def sentences(library: str) -> list[str]:
    """The sentences of the docstrings of a module's functions, in a fixed order, without its own name."""
    module = importlib.import_module(library)
    found = (inspect.getdoc(getattr(module, name, None)) or "" for name in sorted(dir(module)) if name[0] != "_")
    parts = (part.strip() for text in found for part in re.split(r"(?<=\.)\s+|\n\n", text))
    return list(dict.fromkeys(part for part in parts if len(part.split()) >= 6))


def hashed(text: str) -> list[int]:
    """Word numbers from 1, padded with 0."""
    words = re.findall(r"[a-z]+", text.lower())[:LENGTH]
    return [zlib.crc32(word.encode()) % (WORDS - 1) + 1 for word in words] + [0] * (LENGTH - len(words))


def accuracy(seed: int, epochs: int, weigh: bool) -> float:
    """The mean over the classes, on test sentences, after a training on other sentences for each seed."""
    torch.manual_seed(seed)
    counts = long_tail_counts(200, len(LIBRARIES), imbalance=25)
    rows: dict[str, list[tuple[list[int], int]]] = {"train": [], "held_out": [], "test": []}
    for c, (library, count) in enumerate(zip(LIBRARIES, counts, strict=True)):
        own = sentences(library)
        order = torch.randperm(len(own), generator=torch.Generator().manual_seed(100 * seed + c)).tolist()
        parts = {"held_out": order[:15], "test": order[15:45], "train": order[45 : 45 + count]}
        for name, part in parts.items():
            rows[name] += [(hashed(own[i]), c) for i in part]
    train, held_out, test = (
        TensorDataset(torch.tensor([words for words, _ in part]), torch.tensor([c for _, c in part]))
        for part in rows.values()
    )
    model = nn.Sequential(nn.EmbeddingBag(WORDS, 32, padding_idx=0), nn.ReLU(), nn.Linear(32, len(LIBRARIES)))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    difficulty = ClassDifficulty(len(LIBRARIES), class_counts=counts, normalize="samples")  # longtail
    criterion = ClassWeightedLoss(difficulty) if weigh else nn.CrossEntropyLoss()  # longtail
    for _ in range(epochs):
        for x, y in DataLoader(train, 32, shuffle=True):
            optimizer.zero_grad()
            criterion(model(x), y).backward()
            optimizer.step()
        difficulty.measure(model, DataLoader(held_out, 64))  # longtail

    tested = ClassDifficulty(len(LIBRARIES), momentum=0.0)
    tested.measure(model, DataLoader(test, 64))
    return float(tested.performance.mean())


def main(epochs: int = 15, seeds: int = 5) -> dict[str, float]:
    """Class means of the trainings, averaged over the seeds, and in how many of them the weighted one is ahead."""
    pairs = [(accuracy(seed, epochs, False), accuracy(seed, epochs, True)) for seed in range(seeds)]
    plain, weighted = (sum(column) / seeds for column in zip(*pairs, strict=True))
    return {"plain": plain, "weighted": weighted, "seeds": seeds, "ahead": sum(b > a for a, b in pairs)}


if __name__ == "__main__":
    print(main())
