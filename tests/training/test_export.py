"""An exported model, used by ``infer.py`` which has no torch, labels every file as predict does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from longtail.cli import main
from longtail.data import ImageData, Split, load_data, make_loader
from longtail.errors import LongtailError
from longtail.training import infer
from longtail.training.apply import load_run, predict
from longtail.training.export import export
from modules import module_at

QUICK = "--method ce --epochs 1 --batch-size 16 --device cpu".split()


def zoo(folder: Path) -> list[Path]:
    """Files of every kind that a folder of photographs may hold; noise, in which every pixel counts."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)

    def noise(*shape: int) -> np.ndarray:
        small = draw.integers(0, 256, shape, np.uint8)
        return np.kron(small, np.ones((3, 3, *[1] * (len(shape) - 2)), np.uint8))

    colour = Image.fromarray(noise(37, 23, 3))
    turned = Image.Exif()
    turned[0x0112] = 6
    alpha = colour.copy()
    alpha.putalpha(Image.fromarray(noise(37, 23)))
    palette = colour.quantize(17)
    palette.info["transparency"] = 3
    deep = Image.fromarray((draw.integers(0, 65536, (50, 40))).astype(np.uint16))
    files: list[tuple[str, Image.Image, dict[str, object]]] = [
        ("colour.png", colour, {}),
        ("turned.jpg", colour, {"exif": turned}),
        ("alpha.png", alpha, {}),
        ("alpha.webp", alpha, {"lossless": True}),
        ("palette.png", palette, {"transparency": 3}),
        ("palette.gif", palette, {}),
        ("cmyk.jpg", colour.convert("CMYK"), {}),
        ("grey.jpg", colour.convert("L"), {}),
        ("grey-alpha.png", alpha.convert("LA"), {}),
        ("two-tone.png", colour.convert("1"), {}),
        ("deep.png", deep, {}),
        ("deep.tif", deep, {}),
        ("large.jpg", Image.fromarray(noise(321, 411, 3)), {"quality": 95}),
        ("large.png", Image.fromarray(noise(211, 109, 3)), {}),
        ("long.png", Image.fromarray(noise(2, 90, 3)), {}),
        ("high.bmp", Image.fromarray(noise(90, 1, 3)), {}),
        ("dot.png", Image.new("RGB", (1, 1), (3, 200, 77)), {}),
        ("planes.ppm", Image.fromarray(noise(16, 16, 3)), {}),
    ]
    for name, image, options in files:
        image.save(folder / name, **options)  # type: ignore[arg-type]
    return [folder / name for name, _, _ in files]


def settings(
    size: int, share: float, channels: int, frames: int = 0, interpolation: str = "bilinear"
) -> dict[str, object]:
    """What ``preprocess.json`` holds of a run on such data."""
    shorter = max(1, round(size / share)) if frames else 4 * size
    color = "RGB" if channels == 3 else "L"
    look = {"image_size": size, "crop": share, "interpolation": interpolation}
    return look | {"color": color, "shorter": shorter, "frames": frames}


def as_evaluation_sees(
    files: list[Path], size: int, share: float, channels: int, frames: int = 0, interpolation: str = "bilinear"
) -> np.ndarray:
    """The pixels that a model is given, by the loader of the library, ``[N, C, (T,) S, S]``."""
    split = Split([str(file) for file in files], torch.zeros(len(files), dtype=torch.int64), frames)
    plain = {"mean": (0.0,) * channels, "std": (1 / 255,) * channels, "center_crop": share}
    look = plain | {"interpolation": interpolation}
    data = ImageData(name="files", class_names=["a"], train=split, val=None, test=split, **look)
    ((images, _),) = make_loader(split, data, image_size=size, train=False)([torch.arange(len(files))])
    return images.round().numpy()


# -- from a file to pixels ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize(
    ("size", "share", "how"),
    [
        *((size, share, "bilinear") for size, share in ((8, 1.0), (24, 224 / 256), (64, 224 / 256), (100, 0.3))),
        *((size, 0.875, "bicubic") for size in (24, 224)),
    ],
)
def test_the_script_sees_the_pixels_that_evaluation_sees(size, share, how, channels, tmp_path):
    """To the last bit: every size, mode, depth and orientation."""
    files = zoo(tmp_path / "zoo")
    ours = as_evaluation_sees(files, size, share, channels, interpolation=how)
    for file, expected in zip(files, ours, strict=True):
        told = settings(size, share, channels, interpolation=how)
        np.testing.assert_array_equal(infer.square(file, told), expected, file.name)


def test_the_script_sees_the_frames_that_evaluation_sees(tmp_path):
    """For any number of frames below and above that of the model; by number, 2 before 10."""
    draw = np.random.default_rng(1)
    clips = []
    for count in (1, 2, 3, 7, 10, 11, 23):
        clips.append(tmp_path / f"clip{count}")
        clips[-1].mkdir()
        for k in range(count):
            pixels = draw.integers(0, 256, (31, 45, 3), np.uint8)
            Image.fromarray(pixels).save(clips[-1] / f"frame_{k}.png")
    ours = as_evaluation_sees(clips, 12, 224 / 256, 3, frames=10)
    for clip, expected in zip(clips, ours, strict=True):
        np.testing.assert_array_equal(infer.clip(clip, settings(12, 224 / 256, 3, frames=10)), expected)


@pytest.mark.parametrize("beside", ["flow_x_{}.png", "img_{}.jpg", "cover.png"])
def test_the_script_refuses_what_else_lies_beside_frames(beside, tmp_path):
    """Which of them are the frames is told with more care by the library: the script never guesses another answer."""
    for k in range(3):
        for name in ("img_{}.png", beside):
            Image.new("RGB", (8, 8)).save(tmp_path / name.format(k))
    with pytest.raises(ValueError, match="more than one series"):
        infer.clip(tmp_path, settings(8, 1.0, 3, frames=2))


# -- from a file to a label --------------------------------------------------------------------------------------------
def run_alone(folder: Path, files: list[str]) -> subprocess.CompletedProcess[str]:
    """Run ``infer.py`` in a process that has onnxruntime, numpy and Pillow, and neither torch nor this library."""
    code = (
        "import runpy, sys\n"
        "for name in ('torch', 'torchvision', 'longtail', 'av', 'scipy', 'onnx'): sys.modules[name] = None\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [sys.executable, "-c", code, str(folder / "infer.py"), *files]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def assert_agrees(run: Path, folder: Path, files: list[str]) -> list[str]:
    """The script in ``folder`` gives the label and the probability that predict gives, for every file."""
    ended = run_alone(folder, files)
    assert ended.returncode == 0, ended.stderr
    told = [line.split("\t") for line in ended.stdout.splitlines()]
    known = list(predict(run, files, device="cpu"))
    assert [(file, label) for file, label, _ in told] == [(file, classes[0][0]) for file, classes in known]
    chances = [classes[0][1] for _, classes in known]
    assert [float(chance) for *_, chance in told] == pytest.approx(chances, abs=2e-4)
    return [label for _, label, _ in told]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on coloured noise, whose labels differ from file to file."""
    place = tmp_path_factory.mktemp("colours")
    draw = np.random.default_rng(2)
    for c, name in enumerate(["red, or so", "grün", "蓝"]):
        (place / "photos" / name).mkdir(parents=True)
        for i in range(16):
            pixels = draw.integers(0, 160, (20, 26, 3))
            pixels[..., c] += 90
            Image.fromarray(pixels.astype(np.uint8)).save(place / "photos" / name / f"{i}.png")
    words = ["train", f"folder:{place / 'photos'}", *QUICK, "--epochs", "6", "--image-size", "16", "--lr", "0.05"]
    assert main([*words, "--model", "lenet5", "--out", str(place / "run")]) == 0
    return place / "run"


@pytest.mark.parametrize("softmax", [False, True])
def test_the_script_labels_as_predict_does(run, softmax, tmp_path):
    files = [str(file) for file in zoo(tmp_path / "zoo")]
    files += sorted(map(str, (run.parent / "photos").rglob("*.png")))
    words = ["export", str(run), "--out", str(tmp_path / "model.onnx"), *(["--softmax"] if softmax else [])]
    assert main(words) == 0
    assert len(set(assert_agrees(run, tmp_path, files))) > 1


def test_the_script_labels_real_photographs_as_predict_does(test_data, tmp_path):
    folder = test_data / "coco" / "images"
    for name in ("train", "val"):  # no classes that can be told: what is learned does not matter here
        (tmp_path / "photos" / name).mkdir(parents=True)
        for file in sorted((folder / name).glob("*.jpg"))[:12]:
            (tmp_path / "photos" / name / file.name).symlink_to(file)
    (tmp_path / "photos" / "train").rename(tmp_path / "photos" / "a")
    (tmp_path / "photos" / "val").rename(tmp_path / "photos" / "b")
    words = ["train", f"folder:{tmp_path / 'photos'}", *QUICK, "--image-size", "24", "--model", "resnet20"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    assert main(["export", str(tmp_path / "run")]) == 0
    assert_agrees(tmp_path / "run", tmp_path / "run", sorted(map(str, folder.rglob("*.jpg")))[:150])


def test_the_script_labels_files_of_a_set_in_memory_as_predict_does(tmp_path):
    """Grey pictures, and a model made for colour."""
    digits = load_data("digits").test.images[:40, 0].numpy()
    for i, pixels in enumerate(digits):
        Image.fromarray(pixels).save(tmp_path / f"{i:02}.png")
    words = ["train", "digits", *QUICK, "--model", "resnet10", "--image-size", "32", "--out", str(tmp_path / "run")]
    assert main(words) == 0
    assert main(["export", str(tmp_path / "run")]) == 0
    files = [*sorted(map(str, tmp_path.glob("*.png"))), *map(str, zoo(tmp_path / "zoo"))]
    assert_agrees(tmp_path / "run", tmp_path / "run", files)


def test_the_script_labels_folders_of_frames_as_predict_does(tmp_path):
    draw = np.random.default_rng(3)
    for name, base in {"up": 0, "down": 100}.items():
        for i in range(6):
            folder = tmp_path / "clips" / name / str(i)
            folder.mkdir(parents=True)
            for k in range(5):
                pixels = draw.integers(base, base + 150, (18, 24, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{k}.png")
    own = ["--model", "small3d", "--frames", "4", "--image-size", "16", "--workers", "0"]
    words = ["train", f"clips:{tmp_path / 'clips'}", *QUICK, *own]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    assert main(["export", str(tmp_path / "run")]) == 0
    clips = sorted(str(path) for path in (tmp_path / "clips").glob("*/*"))
    assert_agrees(tmp_path / "run", tmp_path / "run", clips)
    video = tmp_path / "film.mp4"
    video.write_bytes(b"frames")
    ended = run_alone(tmp_path / "run", [str(video), clips[0]])
    assert ended.returncode == 1 and ended.stdout.startswith(clips[0])
    assert ended.stderr == f"{video}: a clip is a folder of frames here: extract those of a video file first\n"


def test_the_script_goes_on_past_a_bad_file(run, tmp_path):
    export(run, out=tmp_path / "model.onnx")
    good = zoo(tmp_path / "zoo")[0]
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8 and no more")
    ended = run_alone(tmp_path, [str(tmp_path / "bad.jpg"), str(tmp_path / "none.png"), str(good)])
    assert ended.returncode == 1
    assert ended.stdout.startswith(f"{good}\t")
    assert [line.partition(": ")[0] for line in ended.stderr.splitlines()] == [
        str(tmp_path / "bad.jpg"),
        str(tmp_path / "none.png"),
    ]


# -- what the model tells of itself ------------------------------------------------------------------------------------
def test_the_model_holds_all_that_the_file_beside_it_tells(run, tmp_path):
    """As JSON, so that any language reads it; class names with commas and in any script."""
    export(run, out=tmp_path / "x.onnx")
    beside = json.loads((tmp_path / "preprocess.json").read_text(encoding="utf-8"))
    session = onnxruntime.InferenceSession(str(tmp_path / "x.onnx"), providers=["CPUExecutionProvider"])
    inside = session.get_modelmeta().custom_metadata_map
    assert json.loads(inside["preprocess"]) == beside
    assert json.loads(inside["class_names"]) == beside["class_names"] == load_run(run).class_names
    (entry,) = session.get_inputs()
    assert (entry.name, entry.type, entry.shape[1:]) == ("images", "tensor(uint8)", [3, 16, 16])
    assert beside["shape"] == ["batch", 3, 16, 16] and beside["model"] == "x.onnx"
    assert {"crop", "shorter", "interpolation", "antialias", "layout", "color", "bit_depth"} <= set(beside)


def test_softmax_gives_the_probabilities_of_the_logits(run, tmp_path):
    images = np.random.default_rng(4).integers(0, 256, (5, 3, 16, 16), np.uint8)
    found = {}
    for softmax in (False, True):
        path = export(run, out=tmp_path / "model.onnx", softmax=softmax)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        assert session.get_outputs()[0].name == ("probabilities" if softmax else "logits")
        found[softmax] = torch.from_numpy(session.run(None, {"images": images})[0])
    torch.testing.assert_close(found[True], found[False].softmax(1))


def test_a_model_that_computes_something_else_is_not_written(run, tmp_path, monkeypatch):
    """The file is read again and compared with the run's own model on its own way in."""
    from longtail.training import export as module

    def changed(trained, *, softmax):
        exported = original(trained, softmax=softmax)
        exported.shift += 0.05
        return exported

    original = module.Exported
    monkeypatch.setattr(module, "Exported", changed)
    with pytest.raises(LongtailError, match="differs from the original"):
        export(run, out=tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


# -- what lies beside it already ---------------------------------------------------------------------------------------
def test_two_models_in_one_folder_do_not_share_a_description(run, tmp_path):
    export(run, out=tmp_path / "a.onnx")
    before = (tmp_path / "preprocess.json").read_bytes()
    with pytest.raises(LongtailError, match="belongs to a"):
        export(run, out=tmp_path / "b.onnx", softmax=True)
    assert (tmp_path / "preprocess.json").read_bytes() == before and not (tmp_path / "b.onnx").exists()
    export(run, out=tmp_path / "a.onnx", softmax=True)  # the same model anew
    assert json.loads((tmp_path / "preprocess.json").read_text())["output"] == "probabilities"


@pytest.mark.parametrize("name", ["infer.py", "preprocess.json"])
def test_a_file_of_the_users_is_not_overwritten(run, name, tmp_path):
    (tmp_path / name).write_text("[1]")
    with pytest.raises(LongtailError, match="none of ours"):
        export(run, out=tmp_path / "model.onnx")
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "[1]"


def test_the_script_is_the_one_in_the_package(run, tmp_path):
    export(run, out=tmp_path / "model.onnx")
    module = module_at(tmp_path / "infer.py")
    session, found = module.load()
    file = zoo(tmp_path / "zoo")[0]
    expected = next(predict(run, [file], top=3, device="cpu"))[1]
    chances = dict(zip(found["class_names"], module.probabilities(session, found, file).tolist(), strict=True))
    assert chances == pytest.approx(dict(expected), abs=1e-5)
