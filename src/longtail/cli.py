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
    from longtail.options import examples_of, filled, form_of, options_of, summary_of
except ImportError:
    sys.stderr.write("error: the command line needs more packages than torch: pip install 'longtail[train]'\n")
    sys.exit(2)

__all__ = ["main"]

_PATIENCE = 10.0
"""Seconds that another process than the first waits before it tells of an error."""
_DATA_COMMANDS = ("predict", "methods", "cite", "doctor")
"""What they print may be read by a program: what they are doing is for the screen alone."""
_DESCRIPTION = "Train recognisers on long-tailed data by how difficult each class is for the model."
_SHELLS = ("bash", "zsh", "fish")
_EXAMPLES = (
    "longtail compare digits --out demo          # three methods on the built-in digits, and a report",
    "longtail COMMAND --help                     # the options of a command",
    "longtail --completion bash                  # what teaches a shell (bash, zsh, fish) to complete",
)


def _options(command: str) -> list[str]:
    """The options of a command, with their dashes."""
    own = options_of(COMMANDS[command]) if command in COMMANDS else []
    return ["--help", "--debug", *(flag for option in own if option.group != "positional" for flag in option.flags)]


def _check_lists(words: list[str]) -> None:
    """Refuse a list in two pieces: the parser would keep the last one alone."""
    for option in options_of(COMMANDS[words[0]]) if words[0] in COMMANDS else ():
        given = [word for word in words if word.partition("=")[0].replace("_", "-") in option.flags]
        if "..." in option.metavar and len(given) > 1:
            flag = option.flags[-1]
            raise LongtailError(f"{flag} is given twice: write all its values after one, e.g. {flag} A B")


def _config_file(argv: list[str]) -> RunConfig | None:
    """What ``--config FILE`` holds, if the command has it."""
    if argv[0] not in ("train", "compare"):
        return None
    for i, word in enumerate(argv):
        if word == "--config" and i + 1 < len(argv):
            path = argv[i + 1]
        elif word.startswith("--config="):
            path = word.partition("=")[2]
        else:
            continue
        from longtail.training.configfile import read_config

        return read_config(path)
    return None


def _parse(argv: list[str]) -> Any:
    """The command that a command line means; with ``--help`` its help is printed, and it ends."""
    name = argv[0]
    if name not in COMMANDS:
        forms = {name: form_of(cls) for name, cls in COMMANDS.items()}
        union = Union[tuple(Annotated[form, subcommand(name)] for name, form in forms.items())]  # noqa: UP007
        return tyro.cli(union, args=argv, prog="longtail", description=_DESCRIPTION, config=(OmitArgPrefixes,))  # type: ignore[call-overload]
    cls, defaults, told = COMMANDS[name], None, summary_of(COMMANDS[name])
    base = _config_file(argv)
    if base is not None:
        if name == "compare":  # a run records its data seed also where nobody chose one
            base = dataclasses.replace(base, data_seed=None)
        defaults = cls(**{f.name: getattr(base, f.name) for f in dataclasses.fields(RunConfig)})
    rest = [word for word in argv if word not in ("-h", "--help")]
    asked = len(rest) < len(argv)
    if asked and issubclass(cls, RunConfig):
        chosen, why_not = _with_defaults_of_data(cls, rest, defaults)
        if chosen is not None:
            defaults, told = chosen, f"{told}\n\nThe defaults below are those of {chosen.data} with the options given."
        else:
            told += f"\n\nlongtail {name} DATA --help shows the defaults of a data set."
            told += f" Not here: {why_not}." if why_not else ""
    return filled(cls, _parsed(cls, [name, "--help"] if asked else argv, defaults, told))


def _parsed(cls: type, argv: list[str], defaults: Any, description: str = "") -> Any:
    form, prog = form_of(cls, defaults), f"longtail {argv[0]}"
    return tyro.cli(form, args=argv[1:], prog=prog, description=description, config=(OmitArgPrefixes,))


def _with_defaults_of_data(cls: type, argv: list[str], defaults: Any) -> tuple[Any, str]:
    """The command that is meant, with all that its data set settles; None and why where they do not go together."""
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            command = filled(cls, _parsed(cls, argv, defaults))
        except (SystemExit, LongtailError):  # no data set is named
            return None, ""
    fields = {f.name for f in dataclasses.fields(RunConfig)}
    from longtail.training.recipes import resolve

    try:
        settled = resolve(RunConfig(**{name: getattr(command, name) for name in fields}))
    except LongtailError as error:
        return None, str(error)
    return dataclasses.replace(command, **{name: getattr(settled, name) for name in fields - {"data_seed"}}), ""


def _complete(words: list[str]) -> int:
    """Print what teaches a shell the commands and options."""
    if len(words) != 1 or words[0] not in _SHELLS:
        raise LongtailError(f"--completion takes one shell: {', '.join(_SHELLS)}")
    with contextlib.suppress(SystemExit):
        _parse(["--tyro-write-completion", words[0], "-"])
    return 0


def _print_examples(command: str) -> None:
    examples = (
        examples_of(COMMANDS[command]) if command in COMMANDS else _EXAMPLES if command in ("-h", "--help") else ()
    )
    if examples:
        print("\n".join(["Examples:", *(f"  {line}" for line in examples)]))


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
        if words[0] == "--completion":
            return _complete(words[1:])
        _check_lists(words)
        errors = io.StringIO()
        try:
            with contextlib.redirect_stderr(errors):
                command = _parse(words)
        except SystemExit as stop:
            if stop.code in (0, None):
                _print_examples(words[0])
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
