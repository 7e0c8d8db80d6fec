"""What is found from features and takes a while: numbers as JSON and layers as tensors, beside the features."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from longtail.atomic import atomic

__all__ = ["Kept", "digest_of_state", "frozen_layer", "key_of"]


def key_of(digests: Sequence[bytes], *tensors: Tensor | None) -> str:
    """A name for samples in an order: of their contents, labels, groups, ..."""
    content = hashlib.sha256(b"".join(digests))
    for values in tensors:
        content.update(b"-" if values is None else values.cpu().contiguous().numpy().tobytes())
    return content.hexdigest()[:16]


class Kept:
    """Values and layers by name, of one set of samples.

    Args:
        folder: Where they are kept; None: nowhere, each is found anew.
        key: Of the samples, see `key_of`.
    """

    def __init__(self, folder: Path | None, key: str) -> None:
        self.folder, self.key = folder, key

    def value(self, name: str, find: Callable[[], Any]) -> Any:
        """A JSON value, found if it is not there."""
        path = self._path(name, ".json")
        if path is not None and path.is_file():
            with contextlib.suppress(OSError, ValueError):  # damaged: found again
                return json.loads(path.read_text(encoding="utf-8"))
        value = json.loads(json.dumps(find()))
        if path is not None:
            self._write(path, lambda temporary: temporary.write_text(json.dumps(value), encoding="utf-8"))
        return value

    def layer(self, name: str, find: Callable[[], nn.Linear]) -> nn.Linear:
        """A frozen linear layer, found if it is not there."""
        path = self._path(name, ".layer")
        if path is not None and path.is_file():
            with contextlib.suppress(OSError, SafetensorError, KeyError):
                return frozen_layer(load_file(path))
        layer = find()
        self.save(name + ".layer", layer.state_dict())
        return layer

    def save(self, name: str, tensors: Mapping[str, Tensor], *, once: bool = False) -> Path | None:
        """A file of tensors; ``once``: one that is there stays. None: it could not be kept."""
        path = self._path(name, "")
        if path is None or (once and path.is_file()):
            return path
        own = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        return self._write(path, lambda temporary: save_file(own, temporary))

    def file(self, name: str, write: Callable[[Path], Any]) -> Path | None:
        """A file of any kind, written if it is not there. None: it could not be kept."""
        path = self._path(name, "")
        return path if path is None or path.is_file() else self._write(path, write)

    @staticmethod
    def _write(path: Path, write: Callable[[Path], Any]) -> Path | None:
        """Processes that keep the same file at once write one after the other. None: a full disk, it is not kept."""
        from filelock import FileLock

        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.parent / ".kept.lock"):
                atomic(path, write)
        except (OSError, SafetensorError):
            return None
        return path

    def _path(self, name: str, ending: str) -> Path | None:
        return None if self.folder is None else self.folder / f"{self.key}-{name}{ending}"


def frozen_layer(state: Mapping[str, Tensor]) -> nn.Linear:
    """A linear layer of given weights."""
    layer = nn.Linear(state["weight"].shape[1], state["weight"].shape[0])
    layer.load_state_dict(dict(state))
    return layer.requires_grad_(False)


def digest_of_state(module: nn.Module) -> str:
    """Of all weights of a network."""
    content = hashlib.sha256()
    for name, value in module.state_dict().items():
        content.update(
            name.encode() + value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        )
    return content.hexdigest()
