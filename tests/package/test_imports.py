"""The package imports, lightly, and its imports go one way."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import longtail

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "longtail"
MODULES = sorted(m.name for m in pkgutil.walk_packages([str(SOURCE)], "longtail."))
EXTRAS = {"rle.py": {"hotcoco"}, "metrics/_precision.py": {"hotcoco", "numpy"}}  # when called
CORE = ["errors.py", "rle.py", "difficulty", *("functional losses samplers metrics methods".split())]


def python(code: str) -> str:
    """Standard output of ``code`` in a fresh interpreter."""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=1200)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.parametrize("name", MODULES)
def test_every_module_imports(name: str) -> None:
    module = importlib.import_module(name)
    public = getattr(module, "__all__", [])
    assert [n for n in public if not hasattr(module, n)] == []


def test_every_public_name_is_there_and_no_other() -> None:
    assert len(longtail.__all__) == len(set(longtail.__all__))
    for name in longtail.__all__:
        assert getattr(longtail, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        longtail.no_such_name  # noqa: B018
    assert set(longtail.__all__) <= set(dir(longtail))


def test_importing_the_package_does_not_load_torch() -> None:
    assert python("import longtail, sys; print('torch' in sys.modules)").strip() == "False"


def test_public_names_load_torch_and_nothing_that_torch_does_not_bring() -> None:
    code = """
        import sys, torch
        before = {name.partition('.')[0] for name in sys.modules}
        import longtail
        for name in longtail.__all__: getattr(longtail, name)
        longtail.list_methods()
        after = {name.partition('.')[0] for name in sys.modules}
        print(*sorted(after - before - set(sys.stdlib_module_names)))
    """
    assert python("\n".join(line.strip() for line in code.splitlines())).split() == ["longtail"]


@pytest.mark.parametrize(
    "arguments", [["--help"], ["train", "--help"], ["compare", "--help"], ["--version"]], ids=" ".join
)
def test_help_does_not_load_torch(arguments: list[str]) -> None:
    code = f"""
import contextlib, io, sys
from longtail.cli import main
with contextlib.redirect_stdout(io.StringIO()) as out:
    try:
        code = main({arguments!r})
    except SystemExit as end:
        code = end.code
print('torch' in sys.modules, code or 0, len(out.getvalue()) > 5)
"""
    assert python(code).split() == ["False", "0", "True"]


def imported(path: Path) -> set[str]:
    """Full names of what a file imports at run time, wherever in the file."""
    names: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names.add(node.module or "")
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return names


@pytest.mark.parametrize("part", CORE)
def test_the_core_needs_torch_only(part: str) -> None:
    files = [SOURCE / part] if part.endswith(".py") else sorted((SOURCE / part).rglob("*.py"))
    assert files
    allowed = {"torch", "longtail", *sys.stdlib_module_names}
    for file in files:
        place = file.relative_to(SOURCE).as_posix()
        own = allowed | EXTRAS.get(place, set())
        foreign = {name for name in imported(file) if name.partition(".")[0] not in own}
        assert not foreign, f"{place} imports {foreign}"


def test_the_import_arrows_hold() -> None:
    linter = "from importlinter.cli import lint_imports; import sys; sys.exit(lint_imports(no_cache=True))"
    run = subprocess.run([sys.executable, "-c", linter], capture_output=True, text=True, cwd=ROOT, timeout=1200)
    assert run.returncode == 0, run.stdout + run.stderr
