"""What is told of the library itself: ``methods``, ``cite``, ``doctor``."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from tyro.conf import Positional, arg

from longtail.output import say

__all__ = ["Cite", "Doctor", "Methods"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Methods:
    """List the methods by what they need, or show the card of one.

    Args:
        name: The method whose card is wanted.

    Examples:
        longtail methods
        longtail methods cdb-w
    """

    name: Annotated[Positional[str | None], arg(metavar="NAME")] = None

    def run(self) -> int:
        from longtail.methods._card import for_terminal
        from longtail.methods._groups import listing
        from longtail.methods.base import find_method, get_method

        if self.name is None:
            for line in listing():
                say(line)
            return 0
        method = find_method(self.name)
        say(f"{for_terminal(get_method(method.name))}\n")
        fields = ", ".join(f"{f.name}={f.default!r}" for f in dataclasses.fields(method))
        say(f"Defaults: {fields or 'no hyperparameters'}")
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cite:
    """Print the BibTeX entries of methods.

    Args:
        names: Methods.

    Examples:
        longtail cite cdb-w balanced-softmax
    """

    names: Annotated[Positional[tuple[str, ...]], arg(metavar="NAME...")]

    def run(self) -> int:
        from longtail.methods import cite

        say(cite(*self.names))
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Doctor:
    """Check the installation and the machine."""

    def run(self) -> int:
        from longtail.doctor import doctor

        healthy = True
        for ok, line in doctor():
            healthy &= ok
            say(f"{'ok ' if ok else 'BAD'}  {line}")
        return 0 if healthy else 2
