"""The options of each command, read from its dataclass: in groups, with their help, defaults and short forms.

`options_of` is what the help, the messages about unknown options and the page on the command line are made from;
`form_of` is the same for the parser, which shows fields of one nested dataclass in one frame.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import docstring_parser
from tyro.conf import DisallowNone, OmitArgPrefixes, Positional, Suppress, arg

from longtail.config import DataOptions, RunConfig

__all__ = ["GROUPS", "Option", "examples_of", "filled", "form_of", "options_of", "summary_of"]

_MODEL = (
    "model", "weights", "image_size", "tune", "head", "features", "views", "feature_cache", "adapter", "adapter_rank",
)  # fmt: skip
_METHOD = ("method", "methods", "method_kwargs", "aim", "seeds", "baseline")
_OUTPUT = ("out", "config", "resume", "final", "trackers", "jobs", "submit", "submit_options")
GROUPS = ("data", "method", "model", "training", "output")
"""In this order. What describes data is in `DataOptions`; what is named nowhere belongs to training."""

SHORT = {"method": "-m", "methods": "-m", "epochs": "-e", "batch_size": "-b", "lr": "-l", "out": "-o"}

_METAVARS = {"method_kwargs": "KEY=VALUE ...", "columns": "ROLE=NAME ...", "methods": "METHOD ...", "method": "METHOD"}


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of a command.

    Args:
        name: Of the field.
        group: One of `GROUPS`, "" for the options of a command that has few, or "positional".
        flags: As they are typed, the short one first; of what stands alone its name in capitals.
        metavar: What stands for the value; "" for switches.
        help: In the markup of docstrings: code in double backquotes.
        default: The default.
        kind: Its type, with what the parser needs.
    """

    name: str
    group: str
    flags: tuple[str, ...]
    metavar: str
    help: str
    default: Any
    kind: Any = dataclasses.field(repr=False)

    @property
    def short(self) -> str:
        """The short form; "" where there is none."""
        return next((flag for flag in self.flags if re.fullmatch("-[a-z]", flag)), "")

    @property
    def shown_default(self) -> str:
        """The default as one would type it; "" where nothing is set."""
        if self.default is None or self.default is dataclasses.MISSING or self.default in ("", ()):
            return ""
        if isinstance(self.default, bool):
            return self.flags[-2] if self.default else self.flags[-1]
        return " ".join(map(str, self.default)) if isinstance(self.default, tuple) else str(self.default)


def summary_of(command: type) -> str:
    """What a command does: its docstring without the options and examples."""
    return re.split(r"\n(?:Args|Examples):\n", inspect.cleandoc(command.__doc__ or ""))[0].strip()


def examples_of(command: type) -> list[str]:
    """The lines below ``Examples:`` in its docstring."""
    _, _, text = inspect.cleandoc(command.__doc__ or "").partition("\nExamples:\n")
    return [line.strip() for line in text.splitlines() if line.strip()]


def options_of(command: type, defaults: Any = None) -> list[Option]:
    """The options of a command in the order in which they are shown.

    Args:
        command: Its dataclass.
        defaults: An instance whose values are the defaults; None: those of the dataclass.
    """
    found = [_option(command, field, defaults) for field in dataclasses.fields(command)]
    order = ("positional", "", *GROUPS)
    return sorted((option for option in found if option is not None), key=lambda option: order.index(option.group))


def form_of(command: type, defaults: Any = None) -> type:
    """A dataclass for the parser; `filled` makes the command from its instances."""
    groups: dict[str, list[tuple[str, Any, Any]]] = {}
    for option in options_of(command, defaults):
        shown = option.shown_default
        needed = option.group == "positional" and option.default is dataclasses.MISSING
        kind = Annotated[
            option.kind,
            arg(
                help=_plain(option.help),
                metavar=option.metavar or None,
                aliases=(option.short,) if option.short else None,
                help_behavior_hint=None if needed else f"(default: {shown})" if shown else "",
            ),
        ]
        value = {} if option.default is dataclasses.MISSING else {"default": option.default}
        groups.setdefault(option.group, []).append((option.name, kind, dataclasses.field(**value)))
    own = groups.pop("positional", []) + groups.pop("", [])
    for name, fields in groups.items():
        group = dataclasses.make_dataclass(f"{command.__name__}_{name}", fields, frozen=True, kw_only=True)
        group.__doc__ = ""
        own.append((f"group_{name}", Annotated[OmitArgPrefixes[group], arg(name=name)], dataclasses.field()))
    form = dataclasses.make_dataclass(command.__name__, own, frozen=True, kw_only=True)
    form.__doc__ = summary_of(command)
    return form


def filled(command: type, form: Any) -> Any:
    """The command with the values that the parser filled in."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(form):
        value = getattr(form, field.name)
        inside = field.name.startswith("group_")
        values |= {f.name: getattr(value, f.name) for f in dataclasses.fields(value)} if inside else {field.name: value}
    return command(**values)


def _option(command: type, field: dataclasses.Field[Any], defaults: Any) -> Option | None:
    kind, marks = _unwrapped(_hints(command)[field.name])
    if any(mark is _SUPPRESS for mark in marks):
        return None
    own = next((mark for mark in marks if hasattr(mark, "metavar")), None)
    default = field.default if defaults is None else getattr(defaults, field.name, field.default)
    metavar = getattr(own, "metavar", None) or _METAVARS.get(field.name) or _metavar(kind)
    text = getattr(own, "help", None) or _docs(command).get(field.name, "")
    if any(mark is _POSITIONAL for mark in marks):
        return Option(field.name, "positional", (metavar,), metavar, text, default, _hints(command)[field.name])
    flag = f"--{field.name.replace('_', '-')}"
    flags = (flag,)
    if kind is bool or kind == bool | None:
        flags, kind = (flag, f"--no-{flag[2:]}"), DisallowNone[kind]  # a switch, also where it is unset by default
    if short := SHORT.get(field.name):
        flags = (short, *flags)
    return Option(field.name, _group(command, field.name), flags, metavar, text, default, kind)


def _group(command: type, name: str) -> str:
    if not issubclass(command, DataOptions):
        return ""
    for group, names in (("model", _MODEL), ("method", _METHOD), ("output", _OUTPUT)):
        if name in names:
            return group
    if name == "task" or name in {f.name for f in dataclasses.fields(DataOptions)}:
        return "data"
    return "training" if issubclass(command, RunConfig) else ""


def _marks(kind: Any) -> tuple[Any, ...]:
    return typing.get_args(kind)[1:] if typing.get_origin(kind) is Annotated else ()


(_SUPPRESS,), (_POSITIONAL,) = _marks(Suppress[str]), _marks(Positional[str])


def _unwrapped(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type without its annotations, and these."""
    return (typing.get_args(kind)[0], _marks(kind)) if typing.get_origin(kind) is Annotated else (kind, ())


@functools.cache
def _hints(command: type) -> Mapping[str, Any]:
    return typing.get_type_hints(command, include_extras=True)


@functools.cache
def _docs(command: type) -> Mapping[str, str]:
    """What the docstrings of a class and of its bases say of each field, the class's own first."""
    found: dict[str, str] = {}
    for cls in reversed(command.__mro__):
        for parameter in docstring_parser.parse(cls.__dict__.get("__doc__") or "").params:
            found[parameter.arg_name] = " ".join((parameter.description or "").split())
    return found


def _metavar(kind: Any) -> str:
    origin, inside = typing.get_origin(kind), [k for k in typing.get_args(kind) if k not in (type(None), ...)]
    if origin is Literal:
        return "{" + ",".join(map(str, inside)) + "}"
    if origin in (types.UnionType, typing.Union):
        return "|".join(_metavar(k) for k in inside)
    if origin is tuple:
        return f"{_metavar(inside[0])} ..."
    return {bool: "", int: "INT", float: "FLOAT", Path: "PATH"}.get(kind, "TEXT")


def _plain(text: str) -> str:
    """For a terminal: without the marks of code."""
    return re.sub(r"`+([^`]+)`+", r"\1", text)
