"""The public names and their signatures: what worked with a release goes on working.

``python tests/package/public_api.py`` writes ``api.txt``; ``--check`` says what is new in the code and what is gone
(exit code 1). A line is a name, or a name with its parameters; values of defaults that are no plain numbers or text
stand as ``...``.
"""

from __future__ import annotations

import ast
import enum
import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("api.txt")
MODULES = (
    "longtail",
    "longtail.advice",
    "longtail.data",
    "longtail.functional",
    "longtail.integrations.detection",
    "longtail.losses",
    "longtail.methods",
    "longtail.metrics",
    "longtail.models",
    "longtail.report",
    "longtail.samplers",
    "longtail.tasks",
    "longtail.training.apply",
    "longtail.training.config",
    "longtail.training.run",
)
"""Where public names are imported from: what ``__all__`` of these lists."""


def described() -> list[str]:
    """A line for each public name, and for each public method and property that a class defines."""
    return sorted({line for module in MODULES for line in _of_module(module)})


def _of_module(name: str) -> Iterator[str]:
    module = importlib.import_module(name)
    for public in module.__all__:
        value = getattr(module, public)
        yield f"{name}.{public}{_signature(value)}"
        if inspect.isclass(value) and not issubclass(value, enum.Enum):
            for member, own in vars(value).items():
                if not member.startswith("_") and (inspect.isfunction(own) or isinstance(own, property | classmethod)):
                    function = own.__func__ if isinstance(own, classmethod) else own
                    yield f"{name}.{public}.{member}{'' if isinstance(own, property) else _signature(function)}"


def _signature(value: Any) -> str:
    if not callable(value) or (isinstance(value, type) and issubclass(value, BaseException)):
        return ""
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return ""
    parameters = [p.replace(annotation=p.empty, default=_plain(p.default)) for p in signature.parameters.values()]
    return str(signature.replace(parameters=parameters, return_annotation=signature.empty))


class _Shown:
    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _plain(default: Any) -> Any:
    if default is inspect.Parameter.empty or isinstance(default, str | int | float | bool | None):
        return default
    return _Shown("()" if default == () else "...")


def broken(recorded: str, now: dict[str, str]) -> str:
    """What a user of a recorded line would meet; "" if all that it allows still works."""
    name, old = _split(recorded)
    if name not in now:
        return f"{name} is gone"
    if not old:
        return ""
    if not now[name]:
        return f"{name} can no longer be called"
    before, after = _arguments(old), _arguments(now[name])
    for parameter, (place, default) in before.items():
        if parameter not in after:
            return f"{name}: the parameter {parameter} is gone"
        if place is not None and after[parameter][0] != place:
            return f"{name}: the parameter {parameter} cannot be given by its place any more"
        if default is not None and after[parameter][1] != default:
            return f"{name}: the default of {parameter} was {default} and is {after[parameter][1]}"
    new = [p for p, (_, default) in after.items() if p not in before and default is None and not p.startswith("*")]
    return f"{name}: the parameter {new[0]} is new and must be given" if new else ""


def _split(line: str) -> tuple[str, str]:
    name, bracket, rest = line.partition("(")
    return name, bracket + rest


def _arguments(signature: str) -> dict[str, tuple[int | None, str | None]]:
    """The place (None: by name alone) and the default (None: it must be given) of each parameter."""
    (function,) = ast.parse(f"def f{signature}: ...").body
    assert isinstance(function, ast.FunctionDef)
    a = function.args
    placed = [*a.posonlyargs, *a.args]
    defaults = [None] * (len(placed) - len(a.defaults)) + [ast.unparse(d) for d in a.defaults]
    found: dict[str, tuple[int | None, str | None]] = {
        p.arg: (i, d) for i, (p, d) in enumerate(zip(placed, defaults, strict=True))
    }
    for p, d in zip(a.kwonlyargs, a.kw_defaults, strict=True):
        found[p.arg] = (None, None if d is None else ast.unparse(d))
    for star, p in (("*", a.vararg), ("**", a.kwarg)):
        if p is not None:
            found[star + p.arg] = (None, "")
    return found


def main(arguments: list[str]) -> int:
    lines = described()
    if arguments != ["--check"]:
        FILE.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return 0
    recorded = FILE.read_text(encoding="utf-8").splitlines()
    for line in sorted(set(recorded) ^ set(lines)):
        print(f"{'+' if line in lines else '-'} {line}")
    return int(recorded != lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
