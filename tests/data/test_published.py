"""Published data sets that fit in memory: layouts, splits, protocols."""

from __future__ import annotations

import contextlib
import gzip
import pickle
import shutil
import struct
import tempfile
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clear import assert_clear
from longtail.data import Split, inspect_data, load_data
from longtail.data.arrays import _cifar_batch, read_idx_pair, safe_unpickle
from longtail.data.catalogue import CATALOGUE
from longtail.errors import LongtailError


def keys(*splits: Split | None) -> list[bytes]:
    return [image.numpy().tobytes() for split in splits if split is not None for image in split.images]


def test_digits_are_long_tailed_by_default_with_a_balanced_test_split() -> None:
    data = load_data("digits")
    assert data.train.class_counts(10) == [114, 81, 58, 41, 30, 21, 15, 11, 7, 5]
    assert data.val is not None and data.val.class_counts(10) == [20] * 10
    assert data.test.class_counts(10) == [40] * 10
    assert data.image_size == 8 and data.channels == 1 and not data.notes
    everything = keys(data.train, data.val, data.test)
    assert len(set(everything)) == len(everything)
    assert data.train.images.max() == 255


@pytest.mark.parametrize("name", ["digits", "mnist", "cifar100"])
def test_mean_and_std_are_those_of_the_images(name: str, request: pytest.FixtureRequest) -> None:
    place = {"digits": "", "mnist": "mnist", "cifar100": ""}[name]
    if name == "cifar100":
        place = str(request.getfixturevalue("cifar100"))
    elif place:
        place = str(request.getfixturevalue("test_data") / place)
    data = load_data(f"{name}:{place}" if place else name, protocol="cao", imbalance=1)
    images = data.train.images[::4].float() / 255
    torch.testing.assert_close(images.mean((0, 2, 3)), torch.tensor(data.mean), atol=4e-3, rtol=0)
    torch.testing.assert_close(images.std((0, 2, 3)), torch.tensor(data.std), atol=4e-3, rtol=0)


@pytest.mark.parametrize(
    ("imbalance", "counts"), [(None, [4950, 50]), (99, [4950, 50]), (199, [4975, 25]), (1, [2500] * 2)]
)
def test_mnist_4_against_9_is_the_problem_of_the_paper(test_data: Path, imbalance: float, counts: list[int]) -> None:
    data = load_data(f"mnist-4v9:{test_data / 'mnist'}", imbalance=imbalance)
    assert data.train.class_counts(2) == counts and list(data.class_names) == ["4", "9"]
    assert data.val is not None and data.val.class_counts(2) == [500, 500]
    assert data.test.class_counts(2) == [800, 800]
    assert len(set(keys(data.train, data.val, data.test))) == sum(counts) + 2600
    assert not data.flip and data.crop_padding == 0


def test_the_data_seed_picks_the_test_images_of_mnist_4_against_9(test_data: Path) -> None:
    one, other, again = (load_data(f"mnist-4v9:{test_data / 'mnist'}", data_seed=s) for s in (0, 1, 0))
    assert not one.test.images.equal(other.test.images) and one.test.images.equal(again.test.images)
    assert one.train.images.equal(again.train.images) and not one.train.images.equal(other.train.images)


def test_mnist_holds_out_500_a_class_before_it_is_thinned(test_data: Path) -> None:
    data = load_data(f"mnist:{test_data / 'mnist'}", imbalance_kind="step", imbalance=10)
    assert data.val is not None and data.val.class_counts(10) == [500] * 10
    assert data.train.class_counts(10) == [4921] * 5 + [492] * 5
    assert data.test.class_counts(10) == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.parametrize("below", ["", "raw", "MNIST/raw"])
def test_idx_files_are_found_plain_or_gzipped_where_torchvision_leaves_them(
    test_data: Path, tmp_path: Path, below: str
) -> None:
    (tmp_path / below).mkdir(parents=True, exist_ok=True)
    for file in (test_data / "mnist").glob("*.gz"):
        if "labels" in file.name:
            (tmp_path / below / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
        else:
            shutil.copy(file, tmp_path / below)
    assert len(load_data(f"mnist-4v9:{tmp_path}").train) == 5000


def test_a_named_set_is_found_without_a_path(test_data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LONGTAIL_DATA", str(test_data))
    assert load_data("mnist-4v9").num_classes == 2
    monkeypatch.delenv("LONGTAIL_DATA")
    with pytest.raises(LongtailError, match=rf"{tmp_path}/longtail/mnist; give mnist-4v9:PATH or use --download"):
        load_data("mnist-4v9")
    (tmp_path / "longtail").mkdir()
    (tmp_path / "longtail" / "mnist").symlink_to(test_data / "mnist")
    assert load_data("mnist-4v9").num_classes == 2


@pytest.mark.parametrize(
    ("options", "train", "val"),
    [
        ({}, 9754, 5000),
        ({"imbalance": 200}, 8548, 5000),
        ({"imbalance": 1}, 45000, 5000),
        ({"protocol": "paper", "imbalance": 10}, 17614, 5000),
        ({"protocol": "cao"}, 10847, 0),
        ({"protocol": "cao", "imbalance": 50}, 12608, 0),
        ({"protocol": "merged"}, 9754 + 5000, 0),
        ({"val_fraction": 0.05}, 10302, 2500),
    ],
)
def test_protocols_of_cifar100(cifar100: Path, options: dict, train: int, val: int) -> None:
    data = load_data(f"cifar100:{cifar100}", **options)
    assert len(data.train) == train and len(data.test) == 10000
    assert (data.val is None) == (val == 0)
    if data.val is not None:
        assert data.val.class_counts(100) == [val // 100] * 100
    assert data.class_names[0] == "apple" and data.class_names[99] == "worm"


def test_cifar100_splits_share_no_row(cifar100: Path) -> None:
    """Rows, not pixels: the published set itself holds a few images twice."""
    whole = load_data(f"cifar100:{cifar100}", protocol="cao", imbalance=1).train
    twice = len(whole) - len(set(keys(whole)))
    data = load_data(f"cifar100:{cifar100}", imbalance=1, select_fraction=0.1)
    assert data.select is not None and data.select.class_counts(100) == [50] * 100
    assert len(data.train) + len(data.val or ()) + len(data.select) == 50000
    everything = keys(data.train, data.val, data.select)
    assert len(everything) - len(set(everything)) == twice


def test_the_protocol_merged_trains_on_what_the_papers_trains_on_and_holds_out(cifar100: Path) -> None:
    apart, merged = (load_data(f"cifar100:{cifar100}", data_seed=3, protocol=p) for p in ("paper", "merged"))
    assert sorted(keys(merged.train)) == sorted(keys(apart.train, apart.val))
    assert merged.train.class_counts(100)[::99] == [500, 54] and keys(merged.test) == keys(apart.test)


def test_the_data_seed_changes_images_but_not_counts(cifar100: Path) -> None:
    one, other = (load_data(f"cifar100:{cifar100}", data_seed=seed) for seed in (0, 1))
    assert one.train.class_counts(100) == other.train.class_counts(100)
    assert not one.train.images.equal(other.train.images)
    assert one.test.images.equal(other.test.images)


def test_the_same_images_whatever_the_imbalance(cifar100: Path) -> None:
    """The held-out images stay, and a stronger imbalance trains on a subset: rows of one table are comparable."""
    weak, strong = (load_data(f"cifar100:{cifar100}", imbalance=imbalance) for imbalance in (10, 100))
    assert weak.val is not None and strong.val is not None and weak.val.images.equal(strong.val.images)
    assert set(keys(strong.train)) <= set(keys(weak.train))


def test_a_download_that_fails_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for proxy in ("http_proxy", "https_proxy", "all_proxy"):  # a port where nobody answers
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")
        monkeypatch.setenv(proxy.upper(), "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    for name, other in (("cifar10", "CIFAR10"), ("fashion-mnist", "FashionMNIST")):
        with pytest.raises(LongtailError, match=rf"{other} could not be fetched into {tmp_path}"):
            load_data(f"{name}:{tmp_path}", download=True)


UNKNOWN = {
    "cifar-100": "did you mean cifar100?",
    "nonsense": "known are digits, mnist",
    "": "unknown data set ''",
    "coco:x": "use it with --task detect",
    "clips:x": "x is not a folder",
    "digits:x": "takes no path",
    "lists": "lists needs a path",
}


@pytest.mark.parametrize("spec", UNKNOWN)
def test_unknown_names_are_one_clear_line(spec: str) -> None:
    with pytest.raises(LongtailError, match=UNKNOWN[spec].replace("?", r"\?")) as caught:
        load_data(spec)
    assert_clear(caught.value)


def test_a_bare_folder_is_explained(tmp_path: Path) -> None:
    with pytest.raises(LongtailError, match=f"for a folder of images write folder:{tmp_path}"):
        load_data(str(tmp_path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"imbalance": 0.01}, "did you mean 100"),
        ({"imbalance_kind": "linear", "imbalance": 10}, "known are exp, step"),
        ({"imbalance_kind": "linear"}, "known are exp, step"),
        ({"protocol": "ours"}, "known are paper, cao"),
        ({"val_fraction": 0.0}, "val_fraction"),
        ({"val_fraction": 1.5}, "val_fraction"),
        ({"select_fraction": 0.5}, "select_fraction"),
        ({"select_fraction": -0.1}, "select_fraction"),
        ({"data_seed": -1}, "data_seed"),
    ],
)
def test_options_out_of_range_are_one_clear_line(options: dict, message: str) -> None:
    with pytest.raises(LongtailError, match=message) as caught:
        load_data("digits", **options)
    assert_clear(caught.value)


def test_protocols_and_imbalances_that_the_data_cannot_give(test_data: Path, tmp_path: Path) -> None:
    with pytest.raises(LongtailError, match="mnist-4v9 with imbalance 20000 needs"):
        load_data(f"mnist-4v9:{test_data / 'mnist'}", imbalance=20000)
    for protocol in ("cao", "merged"):
        with pytest.raises(LongtailError, match=f"the protocol {protocol} is one of digits, mnist"):
            load_data(f"folder:{tmp_path}", protocol=protocol)
    data = load_data("digits", imbalance=1000)
    assert min(data.train.class_counts(10)) == 1
    assert "the training imbalance is 114, not the 1000 asked for" in data.notes[0]


def write_npz(folder: Path, name: str, classes: int, **changes: np.ndarray) -> None:
    rng = np.random.RandomState(0)
    for split, each in (("train", 600 if classes == 10 else 60), ("test", 2)):
        content = {
            "images": rng.randint(0, 256, (classes * each, 32, 32, 3), np.uint8),
            "labels": np.arange(classes * each) % classes,
        }
        np.savez(folder / f"{name}_{split}.npz", **content | changes)


@pytest.mark.parametrize(("name", "classes", "val"), [("cifar10", 10, 500), ("cifar100", 100, 50)])
def test_npz_files(tmp_path: Path, name: str, classes: int, val: int) -> None:
    write_npz(tmp_path, name, classes)
    data = load_data(f"{name}:{tmp_path}", imbalance=1)
    assert data.val is not None and data.val.class_counts(classes) == [val] * classes
    with np.load(tmp_path / f"{name}_test.npz") as file:
        assert torch.from_numpy(file["images"]).permute(0, 3, 1, 2).equal(data.test.images)
    assert data.class_names[3] == {"cifar10": "cat", "cifar100": "bear"}[name]


def test_cifar10_in_five_pickles_of_python_2(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rng = np.random.RandomState(0)
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        batch = {"data": rng.randint(0, 256, (1100, 3072), np.uint8), "labels": [i % 10 for i in range(1100)]}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))  # strings of bytes go through _codecs.encode
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"name {i}" for i in range(10)]}, protocol=2))
    data = load_data(f"cifar10:{folder}", imbalance=1)
    assert len(data.train) == 500 and len(data.test) == 1100 and data.class_names[9] == "name 9"
    red = torch.from_numpy(batch["data"][0, :1024].reshape(32, 32))
    assert data.test.images[0, 0].equal(red)


class Malicious:
    def __init__(self, call: object, *arguments: object) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple:
        return self.call, self.arguments


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_runs_code_is_refused(tmp_path: Path, protocol: int) -> None:
    canary = tmp_path / "canary"
    for call, *arguments in [
        (Path.touch, canary),
        (exec, f"open({str(canary)!r}, 'w')"),
        (getattr, "", "join"),
        (np.load, "x"),
        (np.fromfile, str(tmp_path)),
    ]:
        folder = tmp_path / "cifar-100-python"
        folder.mkdir(exist_ok=True)
        (folder / "train").write_bytes(pickle.dumps({"data": Malicious(call, *arguments)}, protocol=protocol))
        with pytest.raises(LongtailError, match=r"train is refused: it asks for .*only numpy arrays are read"):
            load_data(f"cifar100:{tmp_path}")
        assert not canary.exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_plain_containers_come_back(tmp_path: Path, protocol: int) -> None:
    content = {"a": np.arange(6, dtype=np.uint8).reshape(2, 3), "b": [1, "x", None, (2.5, True)], "c": np.int64(4)}
    (tmp_path / "file").write_bytes(pickle.dumps(content, protocol=protocol))
    back = safe_unpickle(tmp_path / "file")
    assert back["a"].tolist() == [[0, 1, 2], [3, 4, 5]] and back["b"] == content["b"] and back["c"] == 4


def test_a_cifar_pickle_reads_whoever_wrote_it(tmp_path: Path) -> None:
    """The published files of Python 2 (protocol 2, strings), and what Python 3 with numpy 1 and 2 writes."""
    rows = np.random.RandomState(0).randint(0, 256, (3, 3072), np.uint8)

    def two(protocol: int) -> bytes:  # as Python 2 and numpy 1.4 wrote the published files
        string = lambda raw: (b"U" + bytes([len(raw)]) if len(raw) < 256 else b"T" + struct.pack("<i", len(raw))) + raw  # noqa: E731
        kind = b"cnumpy\ndtype\n" + string(b"u1") + b"K\x00K\x01\x87R(K\x03" + string(b"|") + b"NNNJ" + b"\xff" * 4
        kind += b"J" + b"\xff" * 4 + b"K\x00tb"
        array = b"cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85" + string(b"b") + b"\x87R"
        array += b"q\x04(K\x01K\x03M\x00\x0c\x86" + kind + b"\x89" + string(rows.tobytes()) + b"tb"
        labels = b"](K\x00K\x01K\x02e"
        return b"\x80\x02}q\x01(" + string(b"data") + array + string(b"fine_labels") + labels + b"u."

    content = {"data": rows, "fine_labels": [0, 1, 2]}
    written = {"python 2": two(2), "bytes": pickle.dumps({k.encode(): v for k, v in content.items()})}
    written["aliased"] = pickle.dumps(content | {"labels": content["fine_labels"]})
    written["Fortran order"] = pickle.dumps(content | {"data": np.asfortranarray(rows)})
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        new = written[f"numpy 2, protocol {protocol}"] = pickle.dumps(content, protocol=protocol)
        assert b"numpy._core" in new
        old = b"\x15numpy.core." if protocol >= 4 else b"numpy.core."  # a counted string since protocol 4
        old_name = new.replace(b"\x16numpy._core." if protocol >= 4 else b"numpy._core.", old)
        if protocol < 5:  # which names another module, of another length
            written[f"numpy 1, protocol {protocol}"] = old_name
    for who, data in written.items():
        (tmp_path / "train").write_bytes(data)
        images, labels = _cifar_batch(tmp_path / "train", 100)
        assert images.tolist() == rows.reshape(3, 3, 32, 32).tolist() and list(labels) == [0, 1, 2], who


NDARRAY, DTYPE = b"cnumpy\nndarray\n", b"cnumpy\ndtype\n"
BYTE = DTYPE + b"(U\x02u1I0\nI1\ntR(I3\nU\x01|NNNI-1\nI-1\nI0\ntb"
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n(" + NDARRAY + b"(I0\ntU\x01btR"
PAYLOADS = {
    "the class of arrays itself, with a buffer and strides": NDARRAY + b"((I4\ntU\x02u1U\x08AAAAAAAAI0\n(I-8\nttR.",
    "a negative offset": NDARRAY + b"((I4\ntU\x02u1U\x08AAAAAAAAI-4096\ntR.",
    "object pointers": DTYPE + b"(U\x01OI0\nI1\ntR.",
    "object pointers in a kind known by its size": DTYPE + b"(U\x02O8I0\nI1\ntR.",
    "a kind with fields": DTYPE + b"(U\x03V16I0\nI1\ntR(I3\nU\x01|N(U\x01xt}NI16\nI1\nI27\ntb.",
    "a known kind whose state has fields": BYTE[:-len(b"NNNI-1\nI-1\nI0\ntb")] + b"N(U\x01xt}I16\nI1\nI27\ntb.",
    "a known kind whose state has a subarray": BYTE[:-len(b"NNNI-1\nI-1\nI0\ntb")] + b"(NNtNNI-1\nI-1\nI0\ntb.",
    "a kind of strings": DTYPE + b"(U\x02S8I0\nI1\ntR.",
    "a kind spelled as a list of fields": DTYPE + b"((lp0\ntR.",
    "an array of objects as a list": RECONSTRUCT + b"(I1\n(I1\nt" + BYTE + b"I00\n(lI5\natb.",
    "fewer bytes than its shape": RECONSTRUCT + b"(I1\n(I9\nt" + BYTE + b"I00\nU\x04AAAAtb.",
    "more bytes than its shape": RECONSTRUCT + b"(I1\n(I2\nt" + BYTE + b"I00\nU\x04AAAAtb.",
    "a negative shape": RECONSTRUCT + b"(I1\n(I-2\nI-2\nt" + BYTE + b"I00\nU\x04AAAAtb.",
    "a shape beyond 64 bits": RECONSTRUCT + b"(I1\n(I4294967296\nI4294967296\nt" + BYTE + b"I00\nU\x00tb.",
    "a shape of many dimensions": RECONSTRUCT + b"(I1\n(" + b"I1\n" * 70 + b"t" + BYTE + b"I00\nU\x01Atb.",
    "Fortran order as a call": RECONSTRUCT + b"(I1\n(I4\nt" + BYTE + NDARRAY + b"U\x04AAAAtb.",
    "another prototype": b"cnumpy.core.multiarray\n_reconstruct\n(" + DTYPE + b"(I0\ntU\x01btR.",
    "a state for a list": b"((lI1\nb.",
    "a state for the class of arrays": NDARRAY + b"(I1\ntb.",
    "a second state": RECONSTRUCT + b"p0\n(I1\n(I1\nt" + BYTE + b"I00\nU\x01Atb(I1\n(I9\nt" + BYTE + b"I00\nU\x01Atb.",
    "an unfinished array": RECONSTRUCT + b".",
    "a name": NDARRAY + b".",
    "a new object of a class": NDARRAY + b"(I4\nt\x81.",
    "an instance": b"(inumpy\nndarray\n.",
    "a persistent id": b"Pfile\n.",
    "an extension": b"\x82\x01.",
    "a buffer from outside": b"\x97.",
    "text as bytes in another encoding": b"c_codecs\nencode\n(V1\nU\x06base64tR.",
    "arrays of wide text": RECONSTRUCT + b"(I1\n(I1\nt" + BYTE + b"I00\nV\\u2603\ntb.",
    "a list nested deep": b"]" * 20_000 + b"a" * 19_999 + b".",
    "a tuple nested deep, as a key": b"}" + b")" + b"\x85" * 20_000 + b"Ns.",
    "a list inside itself": b"]q\x00h\x00a.",
    "lists of lists that double": b"]q\x00K\x01a"
    + b"".join(b"](h%ch%ceq%c" % (k, k, k + 1) for k in range(60)) + b".",
    "one string a thousand times as bytes": b"c_codecs\nencode\nq\x01X\x00\x00\x10\x00" + b"A" * (1 << 20)
    + b"q\x000]" + b"h\x01h\x00U\x06latin1\x86Ra" * 1000 + b".",
    "more steps than any data set": b"N0" * 600_000 + b"N.",
    "a number as a key": b"}K\x01K\x01s.",
    "an item of a number": b"K\x01K\x01K\x01s.",
    "an item of a list that is none": b"K\x01K\x01a.",
    "a memo of two thousand million places": b"Nr\xff\xff\xff\x7f0K\x01p99999999999\nh\x07.",
    "a byte array of a terabyte": b"\x96" + struct.pack("<Q", 1 << 40) + b"A.",
    "bytes of more than all memory": b"\x8e" + b"\xff" * 8 + b"A.",
    "a number of a gigabyte": b"\x8b\x00\x00\x00\x40AAAA.",
    "a negative length": b"T\xff\xff\xff\xffAAAA.",
    "a number of a million digits": b"I" + b"9" * 1_000_000 + b"\n.",
    "a name nested deep": b"]" * 5000 + b"a" * 4999 + b"]\x93.",
    "a mark as a value": b"(0(\x85.",
    "nothing on the stack": b"R.",
    "no end": b"N",
}  # fmt: skip


@pytest.mark.parametrize("what", PAYLOADS)
def test_a_hand_made_pickle_is_one_clear_line(tmp_path: Path, what: str) -> None:
    """Each would give Python's own unpickler, with numpy's classes within reach, an object, memory or a crash."""
    (tmp_path / "train").write_bytes(PAYLOADS[what])
    tracemalloc.start()
    try:
        with pytest.raises(LongtailError, match=r"train is (refused|damaged).*fetch") as caught:
            safe_unpickle(tmp_path / "train")
        assert tracemalloc.get_traced_memory()[1] < 1.2e9
    finally:
        tracemalloc.stop()
    assert_clear(caught.value)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_mutated_pickle_is_read_or_is_one_clear_line(data: st.DataObject) -> None:
    content = {"data": np.arange(12, dtype=data.draw(st.sampled_from(["u1", ">i4", "f8"]))), "labels": [1, (2.5, "x")]}
    raw = bytearray(pickle.dumps(content, protocol=data.draw(st.integers(0, 5))))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(raw)
        with contextlib.suppress(LongtailError):
            assert not isinstance(safe_unpickle(Path(file.name)), type)


def test_labels_that_are_no_list_of_numbers_are_no_batch(tmp_path: Path) -> None:
    rows = np.zeros((2, 3072), np.uint8)
    for wrong in (
        {"data": rows, "fine_labels": [[0], [1]]},
        {"data": rows, "fine_labels": [0, "1"]},
        {"data": rows, "fine_labels": [0, 2**70]},
        {"data": rows, "fine_labels": np.zeros(2)},
        {"data": rows, "fine_labels": [0, 1, 2]},
        {"data": rows.astype(np.int64), "fine_labels": [0, 1]},
        {"data": rows.tolist(), "fine_labels": [0, 1]},
        {"fine_labels": [0, 1]},
        [rows, [0, 1]],
    ):
        (tmp_path / "train").write_bytes(pickle.dumps(wrong))
        with pytest.raises(LongtailError, match=r"train is no CIFAR-100 batch"):
            load_data(f"cifar100:{tmp_path}")


def test_an_idx_file_is_unpacked_no_further_than_its_header_says(tmp_path: Path) -> None:
    labels = bytes([0, 0, 8, 1]) + (2).to_bytes(4, "big") + b"\x00\x01"
    (tmp_path / "labels").write_bytes(labels)
    bombs = {
        "long.gz": bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in (2, 2, 2)) + bytes(200_000_000),
        "huge.gz": bytes([0, 0, 8, 3]) + b"\x7f\xff\xff\xff" * 3 + bytes(1000),
        "wide.gz": bytes([0, 0, 8, 3]) + b"\x40\x00\x00\x00" * 3 + bytes(1000),
        "negative.gz": bytes([0, 0, 8, 3]) + b"\xff\xff\xff\xff" * 2 + b"\x00\x00\x00\x01" + bytes(1000),
        "short.gz": bytes([0, 0, 8]),
    }
    for name, content in bombs.items():
        (tmp_path / name).write_bytes(gzip.compress(content, 1))
        del content
        tracemalloc.start()
        try:
            with pytest.raises(LongtailError, match=f"{name} is not a whole idx file"):
                read_idx_pair(tmp_path / name, tmp_path / "labels")
            assert tracemalloc.get_traced_memory()[1] < 20e6
        finally:
            tracemalloc.stop()


def test_an_npz_file_that_unpacks_to_more_than_any_data_set_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "cifar10_train.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("images.npy", "labels.npy"):
            with archive.open(name, "w") as file:
                np.lib.format.write_array_header_1_0(
                    file, {"descr": "|u1", "fortran_order": False, "shape": (400_000_000,)}
                )
                for _ in range(40):
                    file.write(bytes(10_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(LongtailError, match=r"cifar10_train.npz cannot be read \(762 MiB unpacked\)"):
            load_data(f"cifar10:{tmp_path}")
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_every_truncation_of_a_pickle_is_one_clear_line(tmp_path: Path) -> None:
    whole = pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "fine_labels": [0, 1]}, protocol=2)
    for length in range(0, len(whole) - 1, 97):
        (tmp_path / "train").write_bytes(whole[:length])
        with pytest.raises(LongtailError, match="fetch"):
            safe_unpickle(tmp_path / "train")


def test_every_kind_of_broken_idx_file_is_named(test_data: Path, tmp_path: Path) -> None:
    labels = gzip.decompress((test_data / "mnist" / "t10k-labels-idx1-ubyte.gz").read_bytes())
    good = tmp_path / "labels"
    good.write_bytes(labels)
    images = test_data / "mnist" / "t10k-images-idx3-ubyte.gz"
    assert len(read_idx_pair(images, good)) == 10000
    for name, content in {
        "empty": b"",
        "short": labels[:-1],
        "long": labels + b"x",
        "not-idx": b"PK" + labels[2:],
        "broken.gz": images.read_bytes()[:1000],
        "not-gzip.gz": labels,
    }.items():
        bad = tmp_path / name
        bad.write_bytes(content)
        with pytest.raises(LongtailError, match=name):
            read_idx_pair(images, bad)
    fewer = np.frombuffer(labels, np.uint8)[8:-5]
    (tmp_path / "fewer").write_bytes(labels[:4] + len(fewer).to_bytes(4, "big") + fewer.tobytes())
    with pytest.raises(LongtailError, match="10000 images but 9995 labels"):
        read_idx_pair(images, tmp_path / "fewer")
    with pytest.raises(LongtailError, match=r"labels run from 0 to 9, not within 0..4"):
        read_idx_pair(images, good, num_classes=5)


def test_inspect_data_counts_what_is_there(cifar100: Path) -> None:
    data = load_data(f"cifar100:{cifar100}")
    summary = inspect_data(data)
    assert summary["shots"]["many"]["classes"] == 33
    assert sum(group["classes"] for group in summary["shots"].values()) == 100
    assert sum(group["images"] for group in summary["shots"].values()) == len(data.train) == 9754
    assert summary["imbalance"] == 450 / 4
    assert summary["largest"][0] == ["apple", 450] and summary["smallest"][0] == ["worm", 4]
    assert {name: part["images"] for name, part in summary["splits"].items()} == {
        "train": 9754,
        "val": 5000,
        "test": 10000,
    }


def test_every_published_set_holds_out_what_its_classes_have() -> None:
    sizes = {"digits": 174, "mnist": 5421, "mnist-4v9": 5842, "fashion-mnist": 6000, "cifar10": 5000, "cifar100": 500}
    published = {name: entry.held_out for name, entry in CATALOGUE.items() if entry.held_out}
    assert sizes.keys() == published.keys()
    for name, held_out in published.items():
        assert sum(held_out.values()) < sizes[name] / 2
