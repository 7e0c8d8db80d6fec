"""How the fields of a `RunConfig` that are not set are filled in from the catalogue of data sets."""

from __future__ import annotations

import dataclasses

from longtail.config import RunConfig
from longtail.data.catalogue import find_entry
from longtail.methods.base import find_method
from longtail.tasks.adapter import settle_head
from longtail.tasks.find import task_class
from longtail.tasks.fine_tuning import from_scratch_with_adamw
from longtail.tasks.options import check_learning, check_options, fill_options

__all__ = ["resolve"]


def resolve(config: RunConfig) -> RunConfig:
    """Fill every unset field from the data set's entry, the data seed with 0, and spell the method as its class does.

    Milestones follow a changed number of epochs in proportion.
    """
    config = dataclasses.replace(config, method=find_method(config.method).name)
    entry = find_entry(config.data)
    name = entry.name
    if entry.task == "vectors" and config.task == "classify":  # rows of features, whether it is said or not
        config = dataclasses.replace(config, task="vectors")
    config, recipe = task_class(config.task).settle(config, entry)
    check_options(config, config.data, config.task)
    check_learning(config)
    config = fill_options(config)
    if config.tune == "adapter":
        config = dataclasses.replace(config, head=settle_head(config))
    elif config.optimizer == "adamw" and "optimizer" not in recipe:
        recipe |= from_scratch_with_adamw(boxes=entry.boxes)
    if config.protocol == "cao" and name.startswith("cifar"):
        recipe["weight_decay"] = 2e-4  # Cao et al. (2019)
    epochs, schedule = config.epochs or recipe["epochs"], config.schedule or recipe["schedule"]
    milestones = recipe.get("milestones", (160, 180)) if schedule == "multistep" else ()
    span = recipe["epochs"] if "milestones" in recipe else 200
    recipe["milestones"] = tuple(max(1, round(m * epochs / span)) for m in milestones)
    recipe["warmup_epochs"] = min(recipe["warmup_epochs"], epochs // 5)
    recipe.setdefault("gamma", 0.1)
    recipe.setdefault("clip_grad_norm", 0.0)
    recipe["data_seed"] = 0
    recipe.setdefault("final", "best")
    if config.weights in ("auto", "none"):  # of tasks that settle no start
        config = dataclasses.replace(config, weights=None)
    recipe["tune"] = "all"
    unset = [f.name for f in dataclasses.fields(config) if getattr(config, f.name) is None]
    return dataclasses.replace(config, **{name: recipe[name] for name in unset if name in recipe})
