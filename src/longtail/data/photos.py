"""Decode image files: any size, colour space, bit depth and orientation; a bad file is one clear line that names it."""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from longtail import activity
from longtail.advice import noted
from longtail.errors import LongtailError

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "EXTENSIONS",
    "FORMATS",
    "check_images",
    "depth_note",
    "image_header",
    "is_image",
    "read_image",
]

EXTENSIONS = frozenset(".jpg .jpeg .jpe .jfif .png .bmp .webp .tif .tiff .gif .ppm .pgm .pbm .pnm".split())
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "DIB", "PPM")
"""What a file may hold, whatever its name: Pillow knows more formats, among them some that start other programs."""
_END = {**dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), b"\xff\xd9"), ".png": b"IEND\xaeB`\x82"}
_REDUCED = 448  # pixels of the shorter side that show whether a file is whole
_COLOURS = ("RGB", "RGBA", "LA")
_ORIENTATION = 0x0112  # of EXIF
_LOOKED_AT = 32
"""So many files of a set show how much of 16 bits it uses."""
Content = bytes | str | Path | Tensor
"""An image file as bytes or by its path, or pixels, uint8 ``[C, H, W]``."""


def _stream(content: bytes | str | Path) -> io.BytesIO | str | Path:
    return io.BytesIO(content) if isinstance(content, bytes) else content


def is_image(name: str) -> bool:
    """Whether a file name is visible and ends like an image, in any case."""
    dot = name.rfind(".")
    return dot > 0 and name[dot:].lower() in EXTENSIONS and not name.startswith(".")


def _open(content: Content) -> Image.Image:
    """The header of a file in one of `FORMATS`, pixels are not decoded yet; or an image of pixels."""
    from PIL import Image, JpegImagePlugin, UnidentifiedImageError

    if isinstance(content, Tensor):
        if content.dtype != torch.uint8 or content.ndim != 3 or content.shape[0] not in (1, 3):
            raise ValueError(f"pixels must be uint8 [1 or 3, H, W], not {content.dtype} {list(content.shape)}")
        return Image.fromarray(content.permute(1, 2, 0).squeeze(2).numpy())
    try:
        return Image.open(_stream(content), formats=FORMATS)
    except Image.DecompressionBombError as error:
        with contextlib.suppress(SyntaxError):  # a JPEG file of any size can be decoded reduced
            return JpegImagePlugin.JpegImageFile(_stream(content))
        raise _too_large(re.search(r"\d+", str(error))) from None
    except UnidentifiedImageError:
        raise ValueError("it is none of JPEG, PNG, WebP, TIFF, GIF, BMP, PPM") from None


def _most_pixels() -> float:
    """Pillow's limit against files that claim to be huge."""
    from PIL import Image

    return 2 * Image.MAX_IMAGE_PIXELS if Image.MAX_IMAGE_PIXELS else math.inf


def _too_large(pixels: re.Match[str] | int | None) -> ValueError:
    number = int(pixels[0]) if isinstance(pixels, re.Match) else pixels or 0
    return ValueError(
        f"it has {number / 1e6:.0f} million pixels; more than {_most_pixels() / 1e6:.0f} are read of JPEG files only, "
        "where a reduced picture will do: make it smaller"
    )


def _bits(image: Image.Image) -> int:
    """Bits of a channel in the file, 8 or 16; 32 for TIFF files with whole numbers of more bits or with a sign."""
    raw = " ".join(str(tile[3]) for tile in getattr(image, "tile", ()))
    if image.mode == "I":
        return 32 if image.format == "TIFF" else 16
    return 16 if image.mode.startswith("I") or ";16" in raw else 8


def _values(image: Image.Image, content: Content) -> np.ndarray:
    """What a file of 16 bits a channel holds: ``[H, W]`` or ``[H, W, 3]``."""
    if image.mode.startswith("I"):
        return np.asarray(image)
    if image.format != "PNG":  # Pillow gives the upper 8 bits of each colour
        return np.asarray(image.convert("RGB")).astype(np.uint16) << 8
    from torchvision.io import ImageReadMode, decode_png, read_file

    packed = (
        torch.frombuffer(bytearray(content), dtype=torch.uint8)
        if isinstance(content, bytes)
        else read_file(str(content))
    )
    values = decode_png(packed, mode=ImageReadMode.UNCHANGED).numpy().transpose(1, 2, 0)
    return values[..., :3] if values.shape[2] > 2 else values[..., 0]


def _to_8_bits(image: Image.Image, content: Content, bit_depth: int | None) -> Image.Image:
    """An image of 16 bits a channel with 8; any other as it is. The type of the file decides, never its values."""
    from PIL import Image

    if image.mode == "F":
        raise ValueError("floating-point pixels; store 8 or 16 bits")
    bits = _bits(image)
    if bits == 32 and bit_depth is None:
        raise ValueError("whole numbers of 32 bits or with a sign; give the bits in use with --bit-depth, or store 16")
    if bits == 8 or (image.mode in _COLOURS and bit_depth in (None, 16)):
        return image  # Pillow has taken the upper 8 bits of each colour
    if image.mode in _COLOURS and image.format != "PNG":
        raise ValueError("16 bits a colour; --bit-depth reads these of PNG files only: store PNG, or 8 bits")
    # A PGM file tells its largest value itself, and Pillow has stretched it to 65535.
    used = 16 if image.format == "PPM" or bit_depth is None else bit_depth
    values = _values(image, content)
    least, most = int(values.min(initial=0)), int(values.max(initial=0))
    if least < 0 or most >= 1 << used:
        raise ValueError(f"the value {least if least < 0 else most} is none of {used} bits: give another --bit-depth")
    grey = (values.astype(np.float32) * np.float32(255 / ((1 << used) - 1)) + np.float32(0.5)).astype(np.uint8)
    scaled = Image.fromarray(grey)
    if (turned := image.getexif().get(_ORIENTATION)) is not None:
        scaled.getexif()[_ORIENTATION] = turned
    return scaled


def read_image(
    path: Content,
    *,
    channels: int = 3,
    shorter: int | None = None,
    bit_depth: int | None = None,
    name: str | Path | None = None,
) -> Tensor:
    """Decode one image file, upright as its EXIF orientation says; the first frame of an animation.

    Args:
        path: File in one of `FORMATS`, or its bytes, or pixels as uint8 ``[C, H, W]``. Alpha is dropped.
        channels: 3 for colour, 1 for grey.
        shorter: Reduce an image whose shorter side is larger to this many pixels (quick for JPEG). None: as it is.
        bit_depth: Bits that are in use in files of 16 bits a channel: 12 for most cameras of microscopes; None: 16.
        name: What an error calls it; None: its path.

    Returns:
        uint8 ``[channels, H, W]``.

    Raises:
        LongtailError: the file is missing or not a whole image, it has more pixels than Pillow's limit and cannot be
            reduced while it is decoded, or values of more than ``bit_depth`` bits.
    """
    from PIL import Image, ImageOps

    name = name if name is not None else path if isinstance(path, str | Path) else "an image"
    try:
        # Broken metadata and very large photographs make Pillow warn; neither harms the pixels.
        with warnings.catch_warnings(action="ignore"), _open(path) as image:
            if shorter is not None and min(image.size) > shorter:
                scale = shorter / min(image.size)
                image.draft(None, (math.ceil(image.width * scale), math.ceil(image.height * scale)))
            if image.width * image.height > _most_pixels():
                raise _too_large(image.width * image.height)
            image = _to_8_bits(image, path, bit_depth)
            with contextlib.suppress(Exception):  # broken metadata; a broken image fails again in the next line
                ImageOps.exif_transpose(image, in_place=True)
            image = image.convert("L" if channels == 1 else "RGB")
            if shorter is not None and min(image.size) > shorter:
                scale = shorter / min(image.size)
                image = image.resize(
                    (round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR
                )
            pixels = np.array(image)
    except FileNotFoundError:
        raise LongtailError(f"{name} does not exist") from None
    except Exception as error:  # Pillow raises nearly anything on damaged files
        reason = str(error).replace(f" {str(name)!r}", "") or type(error).__name__
        raise LongtailError(f"{name} cannot be read as an image ({reason}): repair or remove it") from None
    return torch.from_numpy(pixels).reshape(*pixels.shape[:2], -1).permute(2, 0, 1).contiguous()


def image_header(path: str | Path) -> tuple[int, int, int]:
    """Height and width in pixels as they are stored, and the EXIF orientation (1 to 8; from 5 on sides are swapped).

    Raises:
        LongtailError: the file is missing or its beginning is not that of an image.
    """
    from PIL import ImageOps

    try:
        with warnings.catch_warnings(action="ignore"), _open(path) as image:
            orientation = 1
            with contextlib.suppress(Exception):  # broken metadata: read_image leaves the picture as it is
                orientation = image.getexif().get(ImageOps.ExifTags.Base.Orientation, 1)
            return image.height, image.width, orientation if orientation in range(1, 9) else 1
    except FileNotFoundError:
        raise LongtailError(f"{path} does not exist") from None
    except Exception as error:
        raise LongtailError(f"{path} cannot be read as an image ({error}): repair or remove it") from None


def depth_note(
    paths: Sequence[str], bit_depth: int | None, source: Callable[[str], Content] | None = None
) -> str | None:
    """What to say of the range of 16-bit files in a set, from a few of them spread over it; mostly nothing.

    Args:
        paths: Image files.
        bit_depth: What was given for them.
        source: Gives the file of each of ``paths`` where they are keys.

    Raises:
        LongtailError: a value takes more than ``bit_depth`` bits.
    """
    number = min(len(paths), _LOOKED_AT)
    keys = [paths[i * len(paths) // number] for i in range(number)]
    deep, largest = 0, 0
    for key in keys:
        with contextlib.suppress(Exception), warnings.catch_warnings(action="ignore"):
            content = key if source is None else source(key)
            with _open(content) as image:
                if _bits(image) > 8:
                    deep, largest = deep + 1, max(largest, int(_values(image, content).max(initial=0)))
    if bit_depth is not None:
        for key in keys if deep else ():
            read_image(key if source is None else source(key), bit_depth=bit_depth, name=key)
        return None if deep else f"--bit-depth {bit_depth} is for 16-bit files: none of {len(keys)} looked at is one"
    if not deep or largest >= 1 << 14:
        return None
    return noted("LT005", f"the largest value in {deep} of them is {largest} of 65535")


def _looks_whole(path: Content, *, reduced: bool) -> bool:
    """Whether the header parses and the file ends as its format does; formats without an end mark never look whole."""
    if isinstance(path, Tensor):
        return True
    try:
        with warnings.catch_warnings(action="ignore"), _open(path) as image:
            if not reduced and image.width * image.height > _most_pixels():
                return False
            suffix = f".{str(image.format).lower()}" if isinstance(path, bytes) else Path(path).suffix.lower()
        with io.BytesIO(path) if isinstance(path, bytes) else open(path, "rb") as file:
            file.seek(max(0, file.seek(0, 2) - 64))
            return _END.get(suffix, b"?") in file.read()
    except Exception:
        return False


_WHOLE: set[tuple[tuple[str | int, ...] | None, bool]] = set()
"""Files that were looked at in this process: the many runs of a comparison look at the same ones."""


def _mark(path: str) -> tuple[str | int, ...] | None:
    """What changes when a file is written."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return path, status.st_size, status.st_mtime_ns, status.st_ino


def check_images(
    paths: Iterable[str],
    *,
    decode: bool = False,
    reduced: bool = True,
    bit_depth: int | None = None,
    source: Callable[[str], Content] | None = None,
) -> None:
    """Check that files are whole images.

    Args:
        paths: The files.
        decode: Decode each file; otherwise the header, and the whole file only if its end looks cut off.
        reduced: Whether a reduced picture will do, see `read_image`.
        bit_depth: As in `read_image`.
        source: Gives the file of each of ``paths`` where they are keys.

    Raises:
        LongtailError: names the first bad file and counts the others.
    """

    def fault(key: str) -> str | None:
        try:
            path = key if source is None else source(key)
            mark = (_mark(key) if source is None else None, reduced)
            if not decode and (mark in _WHOLE or _looks_whole(path, reduced=reduced)):
                if mark[0] is not None:
                    _WHOLE.add(mark)
                return None
            read_image(path, shorter=_REDUCED if reduced else None, bit_depth=bit_depth, name=key)
        except LongtailError as error:
            return str(error)
        return None

    faults = [found for path in activity.counted(list(paths)) if (found := fault(path))]
    if faults:
        raise LongtailError(faults[0] + (f" (and {len(faults) - 1} more such files)" if len(faults) > 1 else ""))
