"""Default hyperparameters of each data set, and how unset fields of a `RunConfig` are filled in."""

from __future__ import annotations

import dataclasses
from typing import Any

from longtail.data.base import parse_spec
from longtail.data.clips import FRAMES
from longtail.data.load import unknown_data_set
from longtail.errors import LongtailError
from longtail.methods.base import find_method
from longtail.training.config import RunConfig
from longtail.training.options import check_options, fill_options

__all__ = ["RECIPES", "resolve"]

# MNIST and CIFAR: Section 4.1.2 of the paper. The paper says "scaled down" at 160 and 180 and follows Cui et al.
# (2019), whose factor is 0.01 each time after a warm-up of 5 epochs. ImageNet-LT: Section 4.1.2. The others are this
# project's.
_CIFAR = {
    "model": "resnet32",
    "image_size": 32,
    "epochs": 200,
    "batch_size": 128,
    "lr": 0.1,
    "weight_decay": 1e-4,
    "schedule": "multistep",
    "milestones": (160, 180),
    "gamma": 0.01,
    "warmup_epochs": 5,
}
_MNIST = {"model": "lenet5", "image_size": 28, "batch_size": 100, "weight_decay": 5e-4, "warmup_epochs": 0}
_LISTS = {
    "model": "resnet10",
    "image_size": 224,
    "epochs": 100,
    "batch_size": 512,
    "lr": 0.2,
    "weight_decay": 5e-4,
    "schedule": "cosine",
    "warmup_epochs": 0,
}
RECIPES: dict[str, dict[str, Any]] = {
    "digits": _MNIST | {"epochs": 20, "lr": 0.02, "schedule": "cosine", "batch_size": 32},
    "mnist-4v9": _MNIST | {"epochs": 100, "lr": 0.001, "schedule": "constant"},
    "mnist": _MNIST | {"epochs": 20, "lr": 0.02, "schedule": "cosine"},
    "fashion-mnist": _MNIST | {"epochs": 20, "lr": 0.02, "schedule": "cosine"},
    "cifar10": _CIFAR,
    "cifar100": _CIFAR,
    "imagenet-lt": _LISTS,
    "places-lt": _LISTS | {"epochs": 30},
    "inat18": _LISTS | {"epochs": 100},
    # Own photographs on whatever machine there is: small enough to finish on a few cores.
    "folder": _LISTS | {"image_size": 64, "epochs": 20, "batch_size": 64, "lr": 0.05, "warmup_epochs": 2},
}
RECIPES["lists"] = RECIPES["folder"]
# Section 4.3.2 of the paper.
_EGTEA = {
    "model": "resnext3d101",
    "image_size": 224,
    "epochs": 100,
    "batch_size": 32,
    "lr": 0.001,
    "weight_decay": 5e-4,
    "schedule": "multistep",
    "milestones": (60,),
    "gamma": 0.1,
    "warmup_epochs": 0,
}
_SMALL_CLIPS = {"model": "small3d", "weight_decay": 5e-4, "schedule": "cosine", "warmup_epochs": 2}
CLIP_RECIPES: dict[str, dict[str, Any]] = {
    "egtea": _EGTEA,
    "clips": _SMALL_CLIPS | {"image_size": 64, "epochs": 30, "batch_size": 8, "lr": 0.02},
    "moving-digits": _SMALL_CLIPS | {"image_size": 28, "epochs": 30, "batch_size": 32, "lr": 0.05},
}
# Section 4.2.2 of the paper, after Li et al. (2020): 16 images a step, gradients clipped at 35.
_LVIS = {
    "model": "fasterrcnn_resnet50_fpn",
    "image_size": 800,
    "epochs": 12,
    "batch_size": 16,
    "lr": 0.01,
    "weight_decay": 1e-4,
    "schedule": "multistep",
    "milestones": (8, 11),
    "gamma": 0.1,
    "warmup_epochs": 1,
    "clip_grad_norm": 35.0,
}
BOX_RECIPES: dict[str, dict[str, Any]] = {
    "lvis": _LVIS,
    "coco": _LVIS,
    "shapes-lt": _LVIS
    | {"model": "fasterrcnn_resnet10_fpn", "image_size": 128, "epochs": 8, "batch_size": 8, "lr": 0.03}
    | {"schedule": "cosine", "clip_grad_norm": 10.0},
}
RECIPES |= CLIP_RECIPES | BOX_RECIPES


def resolve(config: RunConfig) -> RunConfig:
    """Fill every unset field from the data set's recipe, the data seed with 0, and spell the method as its class does.

    Milestones follow a changed number of epochs in proportion.
    """
    config = dataclasses.replace(config, method=find_method(config.method).name)
    name = parse_spec(config.data)[0]
    if name not in RECIPES:
        raise unknown_data_set(config.data)
    recipe = dict(RECIPES[name])
    if config.task == "video" and name not in CLIP_RECIPES:
        raise LongtailError(f"{name} has no clips for --task video: known are {', '.join(CLIP_RECIPES)}")
    if name in CLIP_RECIPES:
        if config.task not in ("classify", "video"):
            raise LongtailError(f"{name} has clips to classify, nothing for --task {config.task}: use --task video")
        config = dataclasses.replace(config, task="video", frames=config.frames or FRAMES)
    boxes = config.task in ("detect", "segment")
    if boxes != (name in BOX_RECIPES):
        if not boxes:
            raise LongtailError(f"{name} is no data set of labelled images: use it with --task detect or segment")
        raise LongtailError(f"{name} has no boxes for --task {config.task}: known are {', '.join(BOX_RECIPES)}")
    check_options(config, config.data, config.task)
    config = fill_options(config)
    if config.task == "segment":
        recipe["model"] = recipe["model"].replace("faster", "mask")
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
    unset = [f.name for f in dataclasses.fields(config) if getattr(config, f.name) is None]
    return dataclasses.replace(config, **{name: recipe[name] for name in unset if name in recipe})
