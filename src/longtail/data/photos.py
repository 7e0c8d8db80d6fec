"""Decode image files: any size, colour space, bit depth and orientation; a bad file is one clear line that names it."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from longtail.errors import LongtailError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["EXTENSIONS", "check_images", "image_header", "is_image", "read_image"]

EXTENSIONS = frozenset(".jpg .jpeg .jpe .png .bmp .webp .tif .tiff .gif .ppm .pgm".split())
_END = {".jpg": b"\xff\xd9", ".jpeg": b"\xff\xd9", ".jpe": b"\xff\xd9", ".png": b"IEND\xaeB`\x82"}


def is_image(name: str) -> bool:
    """Whether a file name is visible and ends like an image, in any case."""
    dot = name.rfind(".")
    return dot > 0 and name[dot:].lower() in EXTENSIONS and not name.startswith(".")


def _to_mode(image: Image.Image, channels: int) -> Image.Image:
    from PIL import Image

    if image.mode.startswith("I"):  # 16 bits; a plain conversion would clip them to white
        values = np.asarray(image).astype(np.float64)
        image = Image.fromarray((values / 257 if values.max(initial=0) > 255 else values).clip(0, 255).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("floating-point pixels; store 8 or 16 bits")
    return image.convert("L" if channels == 1 else "RGB")


def read_image(path: str | Path, *, channels: int = 3, shorter: int | None = None) -> Tensor:
    """Decode one image file, upright as its EXIF orientation says; the first frame of an animation.

    Args:
        path: File in any format that Pillow reads. Alpha is dropped.
        channels: 3 for colour, 1 for grey.
        shorter: Reduce an image whose shorter side is larger to this many pixels (quick for JPEG). None: as it is.

    Returns:
        uint8 ``[channels, H, W]``.

    Raises:
        LongtailError: the file is missing or not a whole image.
    """
    from PIL import Image, ImageOps

    try:
        # Broken metadata and very large photographs make Pillow warn; neither harms the pixels.
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            if shorter is not None and min(image.size) > shorter:
                scale = shorter / min(image.size)
                image.draft(None, (math.ceil(image.width * scale), math.ceil(image.height * scale)))
            with contextlib.suppress(Exception):  # broken metadata; a broken image fails again in the next line
                ImageOps.exif_transpose(image, in_place=True)
            image = _to_mode(image, channels)
            if shorter is not None and min(image.size) > shorter:
                scale = shorter / min(image.size)
                image = image.resize(
                    (round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR
                )
            pixels = np.array(image)
    except FileNotFoundError:
        raise LongtailError(f"{path} does not exist") from None
    except Exception as error:  # Pillow raises nearly anything on damaged files
        reason = str(error).replace(f" {str(path)!r}", "") or type(error).__name__
        raise LongtailError(f"{path} cannot be read as an image ({reason}): repair or remove it") from None
    return torch.from_numpy(pixels).reshape(*pixels.shape[:2], -1).permute(2, 0, 1).contiguous()


def image_header(path: str | Path) -> tuple[int, int, int]:
    """Height and width in pixels as they are stored, and the EXIF orientation (1 to 8; from 5 on sides are swapped).

    Raises:
        LongtailError: the file is missing or its beginning is not that of an image.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            orientation = 1
            with contextlib.suppress(Exception):  # broken metadata: read_image leaves the picture as it is
                orientation = image.getexif().get(ImageOps.ExifTags.Base.Orientation, 1)
            return image.height, image.width, orientation if orientation in range(1, 9) else 1
    except FileNotFoundError:
        raise LongtailError(f"{path} does not exist") from None
    except Exception as error:
        raise LongtailError(f"{path} cannot be read as an image ({error}): repair or remove it") from None


def _looks_whole(path: str) -> bool:
    """Whether the header parses and the file ends as its format does; formats without an end mark never look whole."""
    from PIL import Image

    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path), open(path, "rb") as file:
            file.seek(max(0, file.seek(0, 2) - 64))
            return _END.get(Path(path).suffix.lower(), b"?") in file.read()
    except Exception:
        return False


def _fault(path: str) -> str | None:
    try:
        read_image(path)
    except LongtailError as error:
        return str(error)
    return None


def check_images(paths: Iterable[str], *, decode: bool = False) -> None:
    """Check that files are whole images.

    Args:
        paths: The files.
        decode: Decode each file; otherwise the header, and the whole file only if its end looks cut off.

    Raises:
        LongtailError: names the first bad file and counts the others.
    """
    faults = [fault for path in paths if (decode or not _looks_whole(path)) and (fault := _fault(path))]
    if faults:
        raise LongtailError(faults[0] + (f" (and {len(faults) - 1} more such files)" if len(faults) > 1 else ""))
