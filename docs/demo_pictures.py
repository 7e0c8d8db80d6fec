"""Write scikit-learn's handwritten digits as a folder of pictures with a long tail: ``python FILE FOLDER``.

A stand-in for photographs of your own: ``FOLDER/train/CLASS/*.png`` and ``FOLDER/test/CLASS/*.png``.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from longtail import long_tail_counts

TEST = 40
NAMES = "zero one two three four five six seven eight nine".split()


def write(folder: Path, imbalance: float = 20) -> None:
    """Pictures of 8 x 8 pixels: 40 per class to test, and 130 of the most frequent class to train."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(labels))  # the first ones are of other hands than the last
    images, labels = images[order], labels[order]
    for label, count in enumerate(long_tail_counts(130, 10, imbalance=imbalance)):
        pixels = (images[labels == label].reshape(-1, 8, 8) * 15.9).astype("uint8")
        for i, picture in enumerate(pixels[: TEST + count]):
            place = folder / ("test" if i < TEST else "train") / NAMES[label]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(place / f"{i:03}.png")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
