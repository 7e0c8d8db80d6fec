"""Initial weights from a local file; nothing in the file can run code."""

from __future__ import annotations

import io
import pickle
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from longtail.errors import LongtailError

__all__ = ["load_weights", "read_weights"]

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
_PREFIXES = ("module.", "_orig_mod.")
_SPARE = re.compile(r"(AuxLogits|aux1|aux2)\.")
"""Side branches of torchvision's published weights that a model with one output lacks."""
_OLD_DENSENET = re.compile(r"(.*denselayer\d+\.(?:norm|conv))\.([12]\.\w+)$")


def _read(file: Path) -> Any:
    if not file.is_file():
        raise LongtailError(f"weights {file} do not exist or are no file")
    if file.suffix == ".safetensors":
        try:
            from safetensors.torch import load_file
        except ImportError:
            raise LongtailError("reading .safetensors needs safetensors: pip install 'longtail[train]'") from None
        try:
            return load_file(file)
        except Exception as error:
            raise LongtailError(f"{file} is not a whole safetensors file: {error}") from None
    try:
        with warnings.catch_warnings(action="ignore"):  # about pickles, which are refused below
            if zipfile.is_zipfile(file):
                return torch.load(file, map_location="cpu", weights_only=True)
            # A length in the old format is asked of the memory before the file turns out to be shorter; not of bytes.
            return torch.load(io.BytesIO(file.read_bytes()), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise LongtailError(
            f"{file} is damaged or holds more than tensors, which could run code: save the model's state_dict()"
        ) from None
    except Exception:
        raise LongtailError(f"{file} is not a whole torch checkpoint: fetch it again") from None


def _tensors(content: Any, file: Path) -> dict[str, Tensor]:
    for _ in _WRAPPERS:
        key = next((k for k in _WRAPPERS if isinstance(content, dict) and isinstance(content.get(k), dict)), None)
        content = content[key] if key else content
    if not isinstance(content, dict) or not any(isinstance(value, Tensor) for value in content.values()):
        raise LongtailError(f"{file} holds no state dict: save the model's state_dict()")
    state = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    while prefix := next((p for p in _PREFIXES if all(key.startswith(p) for key in state)), None):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return {_OLD_DENSENET.sub(r"\1\2", key): value for key, value in state.items() if not _SPARE.match(key)}


def read_weights(file: str | Path) -> dict[str, Tensor]:
    """The tensors of a file by name, without wrappers as ``state_dict`` and prefixes as ``module.``

    Raises:
        LongtailError: the file is missing, damaged, or not only tensors.
    """
    return _tensors(_read(Path(file)), Path(file))


def load_weights(model: nn.Module, file: str | Path, final: nn.Linear | None = None) -> list[str]:
    """Copy weights from a file into a model of the same architecture.

    Args:
        model: Changed in place, or not at all.
        file: ``.safetensors``, or a torch checkpoint of tensors; wrappers as ``state_dict`` and prefixes as ``module.``
            are taken off.
        final: A layer that keeps its own values if the file has none of its size: the classifier of another data set.

    Returns:
        Notes for the user, e.g. that the classifier was not taken from the file.

    Raises:
        LongtailError: the file is missing, damaged, not only tensors, or of another architecture.
    """
    file = Path(file)
    given, own = read_weights(file), model.state_dict()
    name = next((n for n, layer in model.named_modules() if layer is final), "") if final is not None else ""
    head = {f"{name}.weight", f"{name}.bias"} if name else set()
    fits = all(key in given and given[key].shape == own[key].shape for key in head & own.keys())
    skipped = set() if fits else head
    beside = () if fits else (name.rpartition(".")[0] + ".",) if "." in name else ()
    missing = [k for k in own if k not in given and k not in skipped and not k.endswith("num_batches_tracked")]
    extra = [k for k in given if k not in own and k not in skipped and not k.startswith(beside)]
    wrong = [k for k in own if k in given and k not in skipped and given[k].shape != own[k].shape]
    if missing or extra or wrong:
        reasons = [f"it lacks {missing[0]} ({len(missing)} keys)"] if missing else []
        reasons += [f"it has {extra[0]} ({len(extra)} keys) which the model lacks"] if extra else []
        reasons += [f"{wrong[0]} is {list(given[wrong[0]].shape)}, not {list(own[wrong[0]].shape)}"] if wrong else []
        raise LongtailError(f"{file} is of another architecture than {type(model).__name__}: {'; '.join(reasons)}")
    model.load_state_dict({k: v for k, v in given.items() if k in own and k not in skipped}, strict=False)
    return [] if fits else [f"{file.name} has another classifier: {name} starts from random values"]
