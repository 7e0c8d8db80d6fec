"""The command line: parses, calls, prints. Nothing heavier than tyro is imported before a command runs."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Union

from longtail import activity
from longtail.config import RunConfig
from longtail.errors import LongtailError, Terminated, message_of
from longtail.output import is_main
from longtail.usage import explain

try:
    import tyro
    from tyro.conf import OmitArgPrefixes, subcommand

    from longtail.commands import COMMANDS
except ImportError:
    sys.stderr.write("error: the command line needs more packages than torch: pip install 'longtail[train]'\n")
    sys.exit(2)

__all__ = ["main"]

_PATIENCE = 10.0
"""Seconds that another process than the first waits before it tells of an error."""
_DATA_COMMANDS = ("predict", "methods", "cite", "doctor")
"""What they print may be read by a program: what they are doing is for the screen alone."""
_DESCRIPTION = "Train recognisers on long-tailed data by how difficult each class is for the model."


def _options(command: str) -> list[str]:
    """The options of a command, with their dashes."""
    fields = dataclasses.fields(COMMANDS[command]) if command in COMMANDS else ()
    names = [f.name.replace("_", "-") for f in fields]
    return ["--help", "--debug"] + [f"--{no}{name}" for name in names for no in ("", "no-")]


def _check_lists(words: list[str]) -> None:
    """Refuse a list in two pieces: the parser would keep the last one alone."""
    for field in dataclasses.fields(COMMANDS[words[0]]) if words[0] in COMMANDS else ():
        flag = f"--{field.name.replace('_', '-')}"
        given = [word for word in words if word.partition("=")[0].replace("_", "-") == flag]
        if "tuple[" in str(field.type) and len(given) > 1:
            raise LongtailError(f"{flag} is given twice: write all its values after one, e.g. {flag} A B")


def _with_config_file(argv: list[str]) -> tuple[list[str], RunConfig | None]:
    """The defaults that ``--config FILE`` gives, if the command has one."""
    if not argv or argv[0] not in ("train", "compare"):
        return argv, None
    for i, word in enumerate(argv):
        if word == "--config" and i + 1 < len(argv):
            path = argv[i + 1]
        elif word.startswith("--config="):
            path = word.partition("=")[2]
        else:
            continue
        from longtail.training.configfile import read_config

        return argv, read_config(path)
    return argv, None


def _parse(argv: list[str]) -> Any:
    argv, base = _with_config_file(argv)
    if base is not None:
        cls = COMMANDS[argv[0]]
        if argv[0] == "compare":  # a run records its data seed also where nobody chose one
            base = dataclasses.replace(base, data_seed=None)
        default = cls(**{f.name: getattr(base, f.name) for f in dataclasses.fields(RunConfig)})
        return tyro.cli(cls, args=argv[1:], default=default, prog=f"longtail {argv[0]}", config=(OmitArgPrefixes,))
    union = Union[tuple(Annotated[cls, subcommand(name)] for name, cls in COMMANDS.items())]  # noqa: UP007
    return tyro.cli(union, args=argv, prog="longtail", description=_DESCRIPTION, config=(OmitArgPrefixes,))  # type: ignore[call-overload]


def _guarded(action: Callable[[], int], *, debug: bool = False) -> int:
    """Run a command; a mistake of the user's becomes one line and exit code 2."""
    try:
        return action()
    except Terminated as stop:
        if not is_main():  # all end alike
            return 143
        return _fail(f"{stop or 'asked to end (SIGTERM)'}; the same command continues", code=143)
    except KeyboardInterrupt:
        return _fail("interrupted; the same command continues", code=130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing more can be printed
        return 141  # as the shell calls it; a run that ends so is continued by the same command
    except Exception as error:
        message = message_of(error)
        if debug or message is None:
            _let_the_first_tell()
            raise
        return _fail(message)


def _fail(message: str, *, code: int = 2) -> int:
    _let_the_first_tell()
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    return code


def _let_the_first_tell() -> None:
    """Most errors meet all processes, or follow from the end of the first, which tells and so ends the others."""
    if not is_main():
        time.sleep(_PATIENCE)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    words = [word for word in given if word != "--debug"]
    if words in (["--version"], ["-V"]):
        from longtail import __version__

        print(f"longtail {__version__}")
        return 0
    if not words:
        words = ["--help"]

    def action() -> int:
        _check_lists(words)
        errors = io.StringIO()
        try:
            with contextlib.redirect_stderr(errors):
                command = _parse(words)
        except SystemExit as stop:
            if stop.code in (0, None):
                return 0
            return _fail(explain(errors.getvalue(), words, commands=COMMANDS, options=_options))
        to_the_screen = words[0] in _DATA_COMMANDS or str(getattr(command, "out", "")) == "-"
        stream = sys.stderr if to_the_screen else sys.stdout
        if not is_main() or (to_the_screen and not sys.stderr.isatty()):
            return command.run()
        cold = "torch" not in sys.modules and words[0] != "report"
        with activity.watched("loading PyTorch" if cold else "starting", stream, at_once=cold):
            return command.run()

    return _guarded(action, debug="--debug" in given)


if __name__ == "__main__":
    sys.exit(main())
