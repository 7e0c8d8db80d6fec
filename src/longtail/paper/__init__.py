"""The paper's tables and figures: the runs that each needs, and the numbers that the paper prints.

One module a table or figure, each with a ``RECIPE``; `reproduce` finds it by its name.
"""

from longtail.paper.catalogue import find_recipe, recipe_names
from longtail.paper.runner import reproduce

__all__ = ["find_recipe", "recipe_names", "reproduce"]
