"""Label images with the exported model beside this file: ``python infer.py IMAGE...``

Needs onnxruntime, numpy and Pillow. A model of clips labels folders of frames. What is done to an image before the
model is read from ``preprocess.json``; the model itself normalises.
"""

import contextlib
import json
import math
import os
import re
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

FOLDER = Path(__file__).resolve().parent
FRAMES = (".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")


def square(path, settings):
    """An image file as the model takes it: uint8 ``[C, S, S]``."""
    size, shorter = settings["image_size"], settings["shorter"]
    with Image.open(path) as image:
        if min(image.size) > shorter:  # a JPEG is decoded at a lower resolution, which is quick
            scale = shorter / min(image.size)
            image.draft(None, (math.ceil(image.width * scale), math.ceil(image.height * scale)))
        with contextlib.suppress(Exception):  # damaged metadata
            ImageOps.exif_transpose(image, in_place=True)
        if image.mode.startswith("I"):  # 16 bits
            values = np.asarray(image).astype(np.float64)
            values = values / 257 if values.max(initial=0) > 255 else values
            image = Image.fromarray(values.clip(0, 255).astype(np.uint8))
        elif image.mode == "F":
            raise ValueError("floating-point pixels; store 8 or 16 bits")
        image = image.convert(settings["color"])
    if min(image.size) > shorter:
        scale = shorter / min(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    side = max(1, round(min(image.size) * settings["crop"]))
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(size, size, -1).transpose(2, 0, 1)


def clip(folder, settings):
    """The middle frame of each of T equal parts of a folder of frames: uint8 ``[C, T, S, S]``."""
    if not os.path.isdir(folder):
        raise ValueError("a clip is a folder of frames here: extract those of a video file first")
    names = [n for n in os.listdir(folder) if n.lower().endswith(FRAMES) and not n.startswith(".")]
    names.sort(key=lambda n: [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", n)])
    if not names:
        raise ValueError("the folder holds no frame")
    places = [int(len(names) * (i + 0.5) / settings["frames"]) for i in range(settings["frames"])]
    return np.stack([square(os.path.join(folder, names[k]), settings) for k in places], axis=1)


def load(folder=FOLDER):
    """The model as a session of onnxruntime, and the settings of ``preprocess.json``."""
    settings = json.loads((Path(folder) / "preprocess.json").read_text(encoding="utf-8"))
    if settings["version"] != 1:
        raise SystemExit("preprocess.json belongs to another version of infer.py: export both again")
    session = onnxruntime.InferenceSession(Path(folder) / settings["model"], providers=["CPUExecutionProvider"])
    return session, settings


def probabilities(session, settings, path):
    """Of each class, ``[num_classes]``, in the order of ``class_names``."""
    pixels = (clip if settings["frames"] else square)(path, settings)
    (output,) = session.run(None, {settings["input"]: pixels[None]})
    if settings["output"] == "probabilities":
        return output[0]
    odds = np.exp(output[0] - output[0].max())
    return odds / odds.sum()


def main(paths):
    session, settings = load()
    failed = 0
    for path in paths:
        try:
            chance = probabilities(session, settings, path)
        except Exception as error:  # a damaged file does not keep the others from their labels
            print(f"{path}: {error}", file=sys.stderr)
            failed = 1
            continue
        print(f"{path}\t{settings['class_names'][chance.argmax()]}\t{chance.max():.4f}")
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
