"""Where the classifier of a network hangs."""

from __future__ import annotations

from torch import nn

from longtail.errors import LongtailError

__all__ = ["classifier_of", "final_linear"]

_ATTRIBUTES = ("fc", "head", "heads", "classifier")
"""What torchvision calls the last part of its classifiers."""


def classifier_of(model: nn.Module) -> tuple[nn.Module, str, nn.Linear]:
    """The classifier of a network, and where it hangs: ``setattr(parent, attribute, other)`` puts another in its place.

    timm's networks tell it themselves, torchvision's have it under a few names; in any other network it is the last
    linear layer.

    Raises:
        LongtailError: the model has no linear layer that could be its classifier, or several classifiers.
    """
    config = getattr(model, "pretrained_cfg", None)
    if config and config.get("classifier"):
        return _classifier_of_timm(model, config["classifier"])
    if type(model).__module__.startswith("torchvision."):
        for name in _ATTRIBUTES:
            if isinstance(part := getattr(model, name, None), nn.Module):
                return _place(model, _last_linear(part, name) or _last_linear(model))
    return final_linear(model)


def final_linear(model: nn.Module) -> tuple[nn.Module, str, nn.Linear]:
    """The last linear layer of any network, and where it hangs, as `classifier_of` tells it.

    Raises:
        LongtailError: the model has no linear layer.
    """
    return _place(model, _last_linear(model))


def _classifier_of_timm(model: nn.Module, names: str | tuple[str, ...] | list[str]) -> tuple[nn.Module, str, nn.Linear]:
    names = [names] if isinstance(names, str) else list(names)
    names = [name for name in names if not isinstance(_at(model, name), nn.Identity | None)]
    if len(names) > 1:
        raise LongtailError(
            f"{type(model).__name__} has {len(names)} classifiers ({', '.join(names)}): take a network with one"
        )
    return _place(model, _last_linear(model.get_submodule(names[0]), names[0]) if names else None)


def _at(model: nn.Module, name: str) -> nn.Module | None:
    try:
        return model.get_submodule(name)
    except AttributeError:
        return None


def _last_linear(model: nn.Module, prefix: str = "") -> str | None:
    layers = list(model.named_modules(prefix=prefix))
    return next((name for name, layer in reversed(layers) if isinstance(layer, nn.Linear)), None)


def _place(model: nn.Module, name: str | None) -> tuple[nn.Module, str, nn.Linear]:
    if not name:
        raise LongtailError(f"{type(model).__name__} has no linear layer inside that could be its classifier")
    parent, _, attribute = name.rpartition(".")
    layer = model.get_submodule(name)
    assert isinstance(layer, nn.Linear)
    return model.get_submodule(parent), attribute, layer
