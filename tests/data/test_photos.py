"""Image files as people have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from longtail.data.photos import check_images, is_image, read_image
from longtail.errors import LongtailError


@pytest.fixture(scope="module")
def picture(test_data: Path) -> Image.Image:
    """A real photograph."""
    with Image.open(sorted((test_data / "coco" / "images" / "train").iterdir())[0]) as image:
        return image.convert("RGB").resize((160, 120))


def pixels(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.bmp", "a.tif", "a.TIFF", "a.ppm"])
def test_lossless_formats_come_back_exactly(tmp_path: Path, picture: Image.Image, name: str) -> None:
    picture.save(tmp_path / name)
    assert is_image(name) and read_image(tmp_path / name).equal(pixels(picture))


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "a.webp", "a.gif"])
def test_lossy_formats_come_back_nearly(tmp_path: Path, picture: Image.Image, name: str) -> None:
    picture.save(tmp_path / name)
    difference = (read_image(tmp_path / name).float() - pixels(picture).float()).abs().mean()
    assert difference < 12


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK", "YCbCr"])
def test_every_colour_space_becomes_three_or_one_channel(tmp_path: Path, picture: Image.Image, mode: str) -> None:
    suffix = "jpg" if mode in ("CMYK", "YCbCr") else "png"
    picture.convert(mode).save(tmp_path / f"a.{suffix}", **({"transparency": b"\0\x80"} if mode == "P" else {}))
    image = read_image(tmp_path / f"a.{suffix}")
    assert image.shape == (3, 120, 160) and image.dtype == torch.uint8
    grey = read_image(tmp_path / f"a.{suffix}", channels=1)
    assert grey.shape == (1, 120, 160)
    assert (grey.float().mean() - image.float().mean()).abs() < 25


def test_sixteen_bits_keep_their_shades(tmp_path: Path, picture: Image.Image) -> None:
    grey = np.array(picture.convert("L"))
    for name in ("a.png", "a.tif"):
        Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / name)
        image = read_image(tmp_path / name)
        assert image[0].numpy().tolist() == grey.tolist() and image[0].equal(image[2])


def test_floats_are_one_clear_line(tmp_path: Path) -> None:
    Image.fromarray(np.random.RandomState(0).rand(8, 8).astype(np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(LongtailError, match=r"a\.tif cannot be read as an image \(floating-point pixels"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("shorter", [None, 40])
def test_exif_orientation_is_applied(
    tmp_path: Path, picture: Image.Image, orientation: int, shorter: int | None
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    quadrants = Image.new("RGB", (160, 120))
    quadrants.paste((255, 0, 0), (0, 0, 80, 60))  # red marks the first corner of the stored pixels
    quadrants.save(tmp_path / "a.jpg", exif=exif, quality=95)
    image = read_image(tmp_path / "a.jpg", shorter=shorter)
    height, width = image.shape[1:]
    assert (height > width) == (orientation >= 5) and (shorter is None or min(height, width) == shorter)
    red = image[0].float() > 128
    top, left = (
        red[: height // 2].sum() > red[height // 2 :].sum(),
        red[:, : width // 2].sum() > red[:, width // 2 :].sum(),
    )
    upright = {1: (1, 1), 2: (1, 0), 3: (0, 0), 4: (0, 1), 5: (1, 1), 6: (1, 0), 7: (0, 0), 8: (0, 1)}
    assert (top, left) == upright[orientation]


def test_broken_exif_does_no_harm(tmp_path: Path, picture: Image.Image) -> None:
    picture.save(tmp_path / "a.jpg", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    assert read_image(tmp_path / "a.jpg").shape == (3, 120, 160)


def test_reduced_images_look_the_same(tmp_path: Path, test_data: Path) -> None:
    file = sorted((test_data / "coco" / "images" / "val").iterdir())[3]
    whole, reduced = read_image(file), read_image(file, shorter=64)
    assert min(reduced.shape[1:]) == 64
    assert abs(reduced.shape[1] / reduced.shape[2] - whole.shape[1] / whole.shape[2]) < 0.02
    resized = torch.nn.functional.interpolate(whole[None].float(), reduced.shape[1:], mode="bilinear", antialias=True)
    assert (resized[0] - reduced.float()).abs().mean() < 3
    assert read_image(file, shorter=10_000).equal(whole)


def test_a_very_large_photograph_is_read_without_a_warning(tmp_path: Path) -> None:
    Image.new("L", (10_000, 9_000), 200).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", shorter=64).shape == (3, 64, 71)


def test_hidden_and_other_files_are_no_images() -> None:
    assert not any(map(is_image, [".a.jpg", "._a.jpg", "a.txt", "jpg", ".jpg", "a.jpg.part", "Thumbs.db", "a"]))


def damage(picture: Image.Image, folder: Path) -> dict[str, Path]:
    picture.save(folder / "whole.jpg")
    picture.save(folder / "whole.png")
    jpeg, png = (folder / "whole.jpg").read_bytes(), (folder / "whole.png").read_bytes()
    broken = {
        "empty.jpg": b"",
        "text.jpg": b"this is no picture\n" * 10,
        "cut.jpg": jpeg[: len(jpeg) // 2],
        "header.jpg": jpeg[:300],
        "cut.png": png[: len(png) // 2],
        "page.png": b"<!DOCTYPE html><html>404</html>",
        "cut.webp": b"RIFF\x00\x00\x00\x00WEBPVP8 ",
        "cut.gif": b"GIF89a\x01",
    }
    for name, content in broken.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in broken}


def test_damaged_files_are_found_and_named(tmp_path: Path, picture: Image.Image) -> None:
    broken = damage(picture, tmp_path)
    for name, path in broken.items():
        with pytest.raises(LongtailError, match=rf"{name} cannot be read as an image \(.+\): repair or remove it"):
            read_image(path)
        for decode in (False, True):
            with pytest.raises(LongtailError, match=name):
                check_images([str(tmp_path / "whole.jpg"), str(path)], decode=decode)
    check_images([str(tmp_path / "whole.jpg"), str(tmp_path / "whole.png")])
    with pytest.raises(LongtailError, match=r"\(and 7 more such files\)"):
        check_images(str(path) for path in broken.values())
    with pytest.raises(LongtailError, match=r"gone\.jpg does not exist"):
        read_image(tmp_path / "gone.jpg")


def test_bytes_after_the_end_of_a_jpeg_do_no_harm(tmp_path: Path, picture: Image.Image) -> None:
    picture.save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes() + bytes(1000))  # as some cameras do
    check_images([str(tmp_path / "a.jpg")])
