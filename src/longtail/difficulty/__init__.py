"""How difficult each class is for the model in training, and the weights that follow from it."""

from longtail.difficulty.class_difficulty import ClassDifficulty, all_reduce_sum
from longtail.difficulty.options import Absent, DifficultyOptions, Normalize, Shrinkage, Source, describe_options

__all__ = [
    "Absent",
    "ClassDifficulty",
    "DifficultyOptions",
    "Normalize",
    "Shrinkage",
    "Source",
    "all_reduce_sum",
    "describe_options",
]
