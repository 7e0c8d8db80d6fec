"""What ``pip install .`` gives: a wheel that needs torch alone, used where nothing else can be imported; the sdist."""

from __future__ import annotations

import email
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

import longtail

ROOT = Path(__file__).parents[2]

# Run before the code under test: of the installed packages, only torch's own requirements can be imported.
BLOCK = """
import importlib.metadata, re, sys
from importlib.machinery import PathFinder

def closure(name, seen):
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in seen:
        return seen
    seen.add(key)
    try:
        requires = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return seen
    for requirement in requires:
        if "extra ==" not in requirement:
            closure(re.match(r"[\\w.-]+", requirement).group(), seen)
    return seen

allowed = closure("torch", set()) | {"longtail"}

class Blocker(PathFinder):
    blocked = {
        name
        for name, owners in importlib.metadata.packages_distributions().items()
        if not any(re.sub(r"[-_.]+", "-", owner).lower() in allowed for owner in owners)
    }
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in cls.blocked else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Blocker
assert {"torchvision", "numpy", "accelerate", "tyro", "rich", "PIL"} <= Blocker.blocked
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    assert run.returncode == 0, run.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def clean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the programs of a fresh environment with the wheel, and this environment's packages to look at."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=1200)
    programs = folder / ("Scripts" if sys.platform == "win32" else "bin")
    install = [sys.executable, "-m", "pip", "--python", str(programs / "python"), "install", "--quiet", "--no-deps"]
    run = subprocess.run([*install, "--no-index", str(wheel)], capture_output=True, text=True, timeout=1200)
    assert run.returncode == 0, run.stderr
    site = next(folder.rglob("site-packages"))
    (site / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return programs


def run_clean(clean: Path, code: str) -> subprocess.CompletedProcess[str]:
    command = [str(clean / "python"), "-c", BLOCK + code]
    return subprocess.run(command, cwd=clean, capture_output=True, text=True, timeout=1200, env=_without_paths())


def _without_paths() -> dict[str, str]:
    """The environment without ``PYTHONPATH``, which would bring another library than the wheel's."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def test_torch_is_the_only_requirement(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
        files = archive.namelist()
    plain = [r for r in metadata.get_all("Requires-Dist", []) if "extra ==" not in r]
    assert [re.match(r"[\w-]+", r).group() for r in plain] == ["torch"]
    extras = "train detection video hf adapters lightning transformers timm sklearn slurm all docs dev"
    assert set(metadata.get_all("Provides-Extra", [])) == set(extras.split())
    assert "longtail/py.typed" in files
    assert not [f for f in files if not f.startswith(("longtail/", "longtail-"))]


def test_versions_agree(wheel: Path) -> None:
    assert wheel.name.split("-")[1] == longtail.__version__
    assert importlib.metadata.version("longtail") == longtail.__version__


def test_the_core_works_with_torch_alone(clean: Path) -> None:
    run = run_clean(
        clean,
        """
import torch, longtail
assert "venv" in longtail.__file__, longtail.__file__
for name in longtail.__all__: getattr(longtail, name)
difficulty = longtail.ClassDifficulty(num_classes=3)
labels = torch.tensor([0] * 8 + [1] * 3 + [2])
sampler = longtail.ClassWeightedSampler(labels, difficulty)
criterion = longtail.ClassWeightedLoss(difficulty)
difficulty.update(torch.eye(3)[labels // 2], labels)
difficulty.step()
sampler.set_epoch(1)
assert criterion(torch.randn(12, 3), labels).isfinite() and len(list(sampler)) == 12
for name in longtail.list_methods():
    longtail.get_method(name).parts(longtail.methods.ClassStats(class_counts=[8, 3, 1]))
assert "@" in longtail.cite("cdb-w")
""",
    )
    assert run.returncode == 0, run.stderr


def test_a_command_that_lacks_its_extra_says_what_to_install(clean: Path) -> None:
    for arguments in (["--help"], ["train", "digits"], ["compare", "digits"], ["report", "nowhere"]):
        run = run_clean(clean, f"from longtail.cli import main; sys.exit(main({arguments!r}))")
        assert run.returncode == (2 if arguments != ["--help"] else run.returncode), run.stderr
        text = run.stdout + run.stderr
        assert "longtail[train]" in text, (arguments, text)
        assert "Traceback" not in text


def test_the_console_command_is_installed(clean: Path) -> None:
    for command in ([str(clean / "longtail"), "--help"], [str(clean / "python"), "-m", "longtail", "--help"]):
        run = subprocess.run(command, cwd=clean, capture_output=True, text=True, timeout=1200, env=_without_paths())
        assert run.returncode == 0, run.stderr
        assert "compare" in run.stdout


def test_types_reach_whoever_uses_the_package(clean: Path, tmp_path: Path) -> None:
    """A type checker reads the installed package's own types (``py.typed``): right uses pass, wrong ones are told."""
    example = (Path(__file__).parent / "typed.txt").read_text(encoding="utf-8")
    (tmp_path / "typed.py").write_text(example, encoding="utf-8")
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", str(clean / "python"), "typed.py"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1200, env=_without_paths())
    told = json.loads(run.stdout)["generalDiagnostics"]
    lines = example.splitlines()
    wrong = {i for i, line in enumerate(lines) if line.endswith("# wrong")}
    assert {found["range"]["start"]["line"] for found in told if found["severity"] == "error"} == wrong, told


def test_the_source_archive_holds_every_file_of_the_repository(tmp_path: Path) -> None:
    """So that its tests can be run, and its pages built, from it alone."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("no git repository, as in an unpacked source archive")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    assert run.returncode == 0, run.stderr
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    tracked = {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()}
    assert {name for name in tracked - held if not name.startswith(".ci/")} == set()
    assert held - tracked <= {"PKG-INFO"} | {name for name in held if not (ROOT / name).is_file()}


def test_the_citation_is_in_the_format_and_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()  # what the format asks for
    assert citation["cff-version"] == "1.2.0" and citation["type"] == "software"
    assert citation["version"] == longtail.__version__ and citation["license"] == "MIT"
    assert all(author.get("name") or author.get("family-names") for author in citation["authors"])
