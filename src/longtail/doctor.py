"""``longtail doctor``: is everything there that the command line needs, and does it work?"""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator

import torch

from longtail.errors import LongtailError

__all__ = ["doctor"]

_NEEDED = ("torchvision", "timm", "accelerate", "tyro", "rich", "safetensors", "sklearn", "PIL", "matplotlib", "jinja2")
_OPTIONAL = {"onnxruntime": "export", "onnxscript": "export", "tensorboard": "--trackers tensorboard"}


def doctor() -> Iterator[tuple[bool, str]]:
    """Check after check: whether it is well, and a line that says what was found."""
    yield (
        True,
        f"Python {platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores",
    )
    yield True, f"torch {torch.__version__}, {torch.get_num_threads()} threads"
    for name in _NEEDED:
        try:
            importlib.import_module(name)
        except ImportError as error:
            yield False, f"{name} cannot be imported ({error}): pip install 'longtail[train]'"
        else:
            yield True, f"{name} is installed"
    for name, purpose in _OPTIONAL.items():
        found = importlib.util.find_spec(name) is not None
        yield True, f"{name} is {'installed' if found else f'not installed: {purpose} needs it'}"
    try:
        import torchvision

        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
        yield True, f"torchvision {torchvision.__version__} fits torch"
    except (ImportError, RuntimeError, AttributeError) as error:
        yield False, f"torchvision does not fit torch ({str(error).splitlines()[0]}): install both from the same source"
    yield _embedded()
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        total = float((torch.ones(256, 256, device="cuda") @ torch.ones(256, 256, device="cuda")).sum())
        yield (
            total == 256.0**3,
            f"GPU {name} computes, bf16 {'works' if torch.cuda.is_bf16_supported() else 'does not work'}",
        )
    else:
        yield True, "no GPU: training runs on the CPU"
    yield (
        torch.distributed.is_available(),
        "distributed training with gloo"
        + ("" if torch.distributed.is_available() else " is not in this build of torch"),
    )
    try:
        with tempfile.NamedTemporaryFile(dir=os.curdir) as f:
            f.write(b"longtail")
        free = shutil.disk_usage(os.curdir).free / 2**30
        yield free > 1, f"{free:.1f} GiB free in this folder"
    except OSError as error:
        yield False, f"this folder cannot be written ({error.strerror}): run from another one"


def _embedded() -> tuple[bool, str]:
    """The weights that come with a package."""
    try:
        from longtail.models.pretrained import EMBEDDED_LICENCE, embedded_weights

        _, version = embedded_weights()
    except (LongtailError, ImportError) as error:
        return False, str(error)
    return True, f"weights of EfficientNet-Lite0, {version}: whole; licence {EMBEDDED_LICENCE}"
