"""The commands: their options, as frozen dataclasses, and what each of them calls and prints.

What they call is imported when they run: the help needs none of it.
"""

from longtail.commands.about import Cite, Doctor, Methods
from longtail.commands.compare import Compare, Report
from longtail.commands.data import Embed, Inspect
from longtail.commands.finished import Evaluate, Export, Predict
from longtail.commands.paper import Reproduce
from longtail.commands.train import Train

__all__ = ["COMMANDS"]

COMMANDS: dict[str, type] = {
    "train": Train,
    "compare": Compare,
    "evaluate": Evaluate,
    "predict": Predict,
    "inspect": Inspect,
    "reproduce": Reproduce,
    "report": Report,
    "methods": Methods,
    "cite": Cite,
    "embed": Embed,
    "export": Export,
    "doctor": Doctor,
}
