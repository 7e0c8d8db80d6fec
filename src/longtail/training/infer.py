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
from PIL import Image, ImageOps, JpegImagePlugin

FOLDER = Path(__file__).resolve().parent
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "DIB", "PPM")
FRAMES = tuple(".jpg .jpeg .jpe .jfif .png .bmp .webp .tif .tiff .gif .ppm .pgm .pbm .pnm".split())


def opened(path):
    try:
        return Image.open(path, formats=FORMATS)
    except Image.DecompressionBombError:
        return JpegImagePlugin.JpegImageFile(path)  # of any size: it is decoded reduced


def bits_of(image):
    """Bits of a channel in the file; 32 stands for whole numbers of more bits than 16, or with a sign."""
    if image.mode == "I":
        return 32 if image.format == "TIFF" else 16
    return 16 if image.mode.startswith("I") or any(";16" in str(tile[3]) for tile in image.tile) else 8


def eight_bits(image, bits, used, stretched):
    """An image of 16 bits a channel, of which ``used`` are in use, with 8; any other as it is."""
    if image.mode == "F" or (bits == 32 and used is None):
        raise ValueError("floating-point pixels, or whole numbers of 32 bits or with a sign; store 8 or 16 bits")
    if not image.mode.startswith("I"):
        if bits == 16 and used not in (None, 16):
            raise ValueError("16 bits a colour: label this file with longtail predict")
        return image
    used = 16 if stretched or used is None else used
    values = np.asarray(image)
    if values.min(initial=0) < 0 or values.max(initial=0) >= 1 << used:
        raise ValueError(f"a value takes more than {used} bits")
    scaled = values.astype(np.float32) * np.float32(255 / ((1 << used) - 1)) + np.float32(0.5)
    return Image.fromarray(scaled.astype(np.uint8))


def square(path, settings):
    """An image file as the model takes it: uint8 ``[C, S, S]``."""
    size, shorter = settings["image_size"], settings["shorter"]
    with opened(path) as image:
        if min(image.size) > shorter:  # a JPEG is decoded at a lower resolution, which is quick
            scale = shorter / min(image.size)
            image.draft(None, (math.ceil(image.width * scale), math.ceil(image.height * scale)))
        bits, stretched = bits_of(image), image.format == "PPM"  # PGM files tell their largest value: Pillow knows
        with contextlib.suppress(Exception):  # damaged metadata
            ImageOps.exif_transpose(image, in_place=True)
        image = eight_bits(image, bits, settings.get("bit_depth"), stretched).convert(settings["color"])
    if min(image.size) > shorter:
        scale = shorter / min(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    side = max(1, round(min(image.size) * settings["crop"]))
    left, top = (image.width - side) // 2, (image.height - side) // 2
    how = Image.Resampling[settings["interpolation"].upper()]
    image = image.crop((left, top, left + side, top + side)).resize((size, size), how)
    return np.asarray(image).reshape(size, size, -1).transpose(2, 0, 1)


def clip(folder, settings):
    """The middle frame of each of T equal parts of a folder of frames: uint8 ``[C, T, S, S]``."""
    if not os.path.isdir(folder):
        raise ValueError("a clip is a folder of frames here: extract those of a video file first")
    names = [n for n in os.listdir(folder) if n.lower().endswith(FRAMES) and not n.startswith(".")]
    names.sort(key=lambda n: [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", n)])
    if not names:
        raise ValueError("the folder holds no frame")
    stems = [os.path.splitext(n)[0].lower() for n in names]
    forms = {re.sub(r"\d+", "*", stem) for stem in stems}
    if len(set(stems)) < len(names) or 1 < len(forms) < len(names):
        raise ValueError("the folder holds more than one series of images (optical flow?): keep its frames alone")
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
