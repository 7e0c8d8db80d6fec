"""A frozen network as a source of features: what its classifier reads, and what its stages give on the way.

Reading the middle of the network beside its end is Head2Toe (Evci et al., ICML 2022): on pictures far from those that
the network was trained on it is worth as much as fine-tuning everything.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Extractor", "stages_of"]

_MANY = 8
"""Of more stages (the blocks of a transformer) so many at equal distances are read."""
_GRID = 2
_LARGEST = 65504.0
"""Of float16, in which features are kept."""


class Extractor(nn.Module):
    """A network without its classifier, frozen: images ``[B, C, S, S]`` to features ``[B, D]``.

    The features of a clip ``[B, C, T, S, S]`` are the means of those of its frames.

    The first ``width`` features are what the classifier read. With ``levels`` the mean and the 2 x 2 grid of means of
    every stage's output follow. They are rounded to float16, as they are kept in files, so that a picture has the same
    features there and in a whole model.

    Args:
        network: From images to logits.
        classifier: Its classifier: the module that holds it, and the name there.
        levels: Read the stages, too.

    Attributes:
        width: Number of features of the last layer.
    """

    def __init__(self, network: nn.Module, classifier: tuple[nn.Module, str], *, levels: bool = True) -> None:
        super().__init__()
        parent, name = classifier
        layer = getattr(parent, name)
        self.width: int = layer.in_features
        setattr(parent, name, nn.Identity())
        self.network = network.requires_grad_(False).eval()
        self.levels = levels
        self._last = channels_last(network)
        self._seen: list[Tensor] = []
        if levels:
            for stage in stages_of(network):
                stage.register_forward_hook(self._see)

    def _see(self, module: nn.Module, inputs: object, output: object) -> None:
        del module, inputs
        if isinstance(output, Tensor):
            self._seen.append(output)

    def train(self, mode: bool = True) -> Extractor:
        """Frozen: the statistics of BatchNorm stay as they are, whatever mode is asked for."""
        del mode
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        if images.ndim == 5:
            frames = self._features(images.transpose(1, 2).flatten(0, 1))
            features = frames.unflatten(0, (-1, images.shape[2])).mean(1)
        else:
            features = self._features(images)
        return features.clamp(-_LARGEST, _LARGEST).half().float()

    def _features(self, images: Tensor) -> Tensor:
        self._seen.clear()
        with torch.autocast(images.device.type, enabled=False):  # in one precision, whatever the classifier has
            parts = [self.network(images.float()).flatten(1)]
        for output in self._seen:
            parts += _summaries(output.movedim(-1, 1) if self._last and output.ndim == 4 else output)
        self._seen.clear()
        return torch.cat([part.float() for part in parts], 1)


def stages_of(network: nn.Module) -> Sequence[nn.Module]:
    """The stages of a network whose outputs are worth reading, from the first to the last; empty: none are known.

    They are the children of ``blocks`` or ``stages`` (timm), ``layer1`` to ``layer4`` (ResNet), or of ``features``
    and ``encoder.layers`` (torchvision).
    """
    for path in ("blocks", "stages", "features", "encoder.layers", "layers"):
        try:
            found = network.get_submodule(path)
        except AttributeError:
            continue
        stages = list(found.children())
        if len(stages) > _MANY:
            stages = [stages[round((i + 1) * len(stages) / _MANY) - 1] for i in range(_MANY)]
        return stages
    names = [name for name in (f"layer{i}" for i in range(1, 5)) if hasattr(network, name)]
    return [network.get_submodule(name) for name in names]


def channels_last(network: nn.Module) -> bool:
    """Whether a network's stages give ``[B, H, W, C]``, as those of Swin do in timm and in torchvision."""
    return getattr(network, "output_fmt", "") == "NHWC" or type(network).__name__ == "SwinTransformer"


def _summaries(output: Tensor) -> list[Tensor]:
    """The mean of a stage's output, and of each of the four quarters of the picture, where it has any."""
    if output.ndim == 3:  # tokens: the first are the transformer's own where the others make no square
        side = int(output.shape[1] ** 0.5)
        own = output[:, output.shape[1] - side * side :]
        output = own.transpose(1, 2).unflatten(2, (side, side))
    if output.ndim != 4:
        return []
    return [output.mean((2, 3)), F.adaptive_avg_pool2d(output, _GRID).flatten(1)]
