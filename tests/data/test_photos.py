"""Image files as people have them."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from longtail.data.photos import check_images, depth_note, is_image, read_image
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


def deep_png(path: Path, values: np.ndarray) -> Path:
    """A PNG file of 16 bits a channel, ``[H, W, C]``, C in 1 to 4: Pillow writes grey ones only."""
    height, width, channels = values.shape
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, content in chunks:
            file.write(struct.pack(">I", len(content)) + kind + content)
            file.write(struct.pack(">I", zlib.crc32(kind + content)))
    return path


@pytest.mark.parametrize("bit_depth", [None, 9, 12, 16])
@pytest.mark.parametrize("brightest", [100, 255, 256, 257, 511])
def test_the_type_of_a_file_decides_its_depth_and_never_its_values(
    tmp_path: Path, brightest: int, bit_depth: int | None
) -> None:
    """A picture whose brightest value is 255 and one with 256 are scaled alike, in grey and in colour."""
    values = np.random.RandomState(0).randint(0, brightest + 1, (9, 7, 4))
    values[0, 0] = brightest
    expected = values * 255 / (2 ** (bit_depth or 16) - 1)
    Image.fromarray(values[..., 0].astype(np.uint16)).save(tmp_path / "a.tif")
    files = [tmp_path / "a.tif"] + [deep_png(tmp_path / f"{c}.png", values[..., :c]) for c in (1, 2, 3, 4)]
    for file in files:
        image = read_image(file, bit_depth=bit_depth).permute(1, 2, 0).numpy()
        channels = [0, 1, 2] if file.stem in ("3", "4") else [0, 0, 0]
        assert np.abs(image - expected[..., channels]).max() <= 1
    rounded = read_image(files[0], bit_depth=bit_depth)[0].numpy()
    assert (rounded == np.floor(expected[..., 0] + 0.5)).all()


def test_values_of_more_bits_than_were_told_are_refused(tmp_path: Path) -> None:
    for channels in (1, 3):
        file = deep_png(tmp_path / "a.png", np.full((4, 4, channels), 4096))
        with pytest.raises(LongtailError, match="the value 4096 is none of 12 bits: give another --bit-depth"):
            read_image(file, bit_depth=12)
        assert read_image(file, bit_depth=13).float().mean() == 128


def test_a_depth_keeps_other_files_as_they_are(tmp_path: Path, picture: Image.Image) -> None:
    picture.save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", bit_depth=12).equal(pixels(picture))
    # A PGM file tells its largest value itself.
    (tmp_path / "a.pgm").write_bytes(b"P5 4 1 4095\n" + np.array([0, 1365, 2730, 4095], dtype=">u2").tobytes())
    for depth in (None, 12):
        assert read_image(tmp_path / "a.pgm", bit_depth=depth)[0].tolist() == [[0, 85, 170, 255]]


def test_whole_numbers_of_32_bits_need_a_depth(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 2048, 4095]], dtype=np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(LongtailError, match="32 bits or with a sign; give the bits in use"):
        read_image(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif", bit_depth=12)[0].tolist() == [[0, 128, 255]]
    Image.fromarray(np.array([[-1, 2]], dtype=np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(LongtailError, match="the value -1 is none of 12 bits"):
        read_image(tmp_path / "a.tif", bit_depth=12)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_sixteen_bits_are_turned_upright(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    values = np.arange(12, dtype=np.uint16).reshape(3, 4) * 20
    Image.fromarray(values).save(tmp_path / "deep.png", exif=exif)
    Image.fromarray(values.astype(np.uint8)).save(tmp_path / "flat.png", exif=exif)
    assert read_image(tmp_path / "deep.png", bit_depth=8).equal(read_image(tmp_path / "flat.png"))


def test_a_set_of_dark_files_is_told(tmp_path: Path, picture: Image.Image) -> None:
    dark = [str(deep_png(tmp_path / f"{i}.png", np.full((4, 4, 1), 210 + i))) for i in range(90)]
    note = depth_note(dark, None)
    assert note and "in 32 of them is 297 of 65535" in note and "--bit-depth 12" in note
    assert depth_note(dark, 12) is None
    with pytest.raises(LongtailError, match="none of 8 bits"):
        depth_note(dark, 8)
    bright = [str(deep_png(tmp_path / "bright.png", np.full((4, 4, 3), 60_000)))]
    picture.save(tmp_path / "a.jpg")
    plain = [str(tmp_path / "a.jpg")]
    assert depth_note(bright, None) is None and depth_note(plain, None) is None and depth_note([], None) is None
    assert "none of 1 looked at is one" in (depth_note(plain, 12) or "")


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


def test_a_photograph_beyond_the_limit_is_decoded_reduced(
    tmp_path: Path, picture: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is lowered here: a picture of 187 million pixels takes seconds."""
    for name in ("a.jpg", "a.png"):
        picture.resize((1280, 960)).save(tmp_path / name, quality=95)
    expected = read_image(tmp_path / "a.jpg", shorter=60)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200_000)  # Pillow refuses twice that
    assert read_image(tmp_path / "a.jpg", shorter=60).equal(expected)
    check_images([str(tmp_path / "a.jpg")], decode=True)
    check_images([str(tmp_path / "a.jpg")])
    said = (
        r"1 million pixels; more than 0 are read of JPEG files only, where a reduced picture will do: make it smaller"
    )
    for name, shorter in (("a.png", 60), ("a.jpg", None), ("a.jpg", 700)):
        with pytest.raises(LongtailError, match=said):
            read_image(tmp_path / name, shorter=shorter)
    for decode in (False, True):
        with pytest.raises(LongtailError, match=said):
            check_images([str(tmp_path / "a.jpg")], decode=decode, reduced=False)


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n%%EOF\n"


def test_only_the_promised_formats_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostScript would start Ghostscript, whatever the file is called."""
    from PIL import EpsImagePlugin

    def started(*_: object, **__: object) -> None:
        raise AssertionError("Ghostscript was started")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", started)
    contents = {"eps": POSTSCRIPT}
    for other in ("TGA", "ICO", "PCX", "SGI", "JPEG2000"):
        Image.new("RGB", (16, 16), "red").save(tmp_path / "other", format=other)
        contents[other] = (tmp_path / "other").read_bytes()
    for kind, content in contents.items():
        for name in ("a.jpg", "a.png", "a.tif"):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(LongtailError, match=r"it is none of JPEG, PNG, WebP, TIFF, GIF, BMP, PPM"):
                read_image(tmp_path / name)
            with pytest.raises(LongtailError, match=r"it is none of JPEG"):
                check_images([str(tmp_path / name)])
        assert kind


def test_a_jpeg_with_several_pictures_is_read_as_its_first(tmp_path: Path, picture: Image.Image) -> None:
    picture.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[Image.new("RGB", (9, 9))], quality=95)
    assert (read_image(tmp_path / "a.jpg").float() - pixels(picture).float()).abs().mean() < 12


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
