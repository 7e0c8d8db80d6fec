"""A frozen network stays as it was, and what it gives is what a naive reading of it gives."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from longtail.features.choose import choose_decay, cross_validate
from longtail.features.extract import Extractor, stages_of
from longtail.features.fit import folds_of
from longtail.features.project import projection_of


def network() -> nn.Module:
    torch.manual_seed(0)
    return torchvision.models.resnet18(num_classes=7)


def extractor(model: nn.Module, *, levels: bool = True) -> Extractor:
    return Extractor(model, (model, "fc"), levels=levels)


def test_training_mode_and_batches_change_nothing() -> None:
    frozen = extractor(network())
    before = copy.deepcopy(frozen.state_dict())
    frozen.train()
    for _ in range(2):
        frozen(torch.randn(4, 3, 32, 32))
    assert not any(module.training for module in frozen.modules())
    assert not any(p.requires_grad for p in frozen.parameters())
    assert all(torch.equal(before[name], value) for name, value in frozen.state_dict().items())


def test_features_are_the_last_layer_the_means_and_the_grids() -> None:
    model = network().eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        x = model.maxpool(model.relu(model.bn1(model.conv1(images))))
        levels = []
        for name in ("layer1", "layer2", "layer3", "layer4"):
            x = getattr(model, name)(x)
            levels += [x.mean((2, 3)), F.adaptive_avg_pool2d(x, 2).flatten(1)]
        last = x.mean((2, 3))
        wanted = torch.cat([last, *levels], 1).half().float()
        frozen = extractor(model)
        found = frozen(images)
    assert frozen.width == 512
    assert torch.equal(found, wanted) and found.shape == (2, 512 + 5 * (64 + 128 + 256 + 512))
    assert torch.equal(extractor(network(), levels=False)(images), wanted[:, :512])


def test_of_a_transformer_the_patches_make_the_grid() -> None:
    torch.manual_seed(0)
    model = torchvision.models.vit_b_16(num_classes=3, image_size=32)
    frozen = Extractor(model, (model.heads, "head"))
    found = frozen(torch.randn(2, 3, 32, 32))
    assert len(stages_of(model)) == 8
    assert found.shape == (2, 768 + 8 * 5 * 768)


def test_of_swin_the_channels_are_summed_up_and_not_the_picture() -> None:
    torch.manual_seed(0)
    model = torchvision.models.swin_t(num_classes=3).eval()
    found = Extractor(model, (model, "head"))(torch.randn(1, 3, 64, 64))
    assert found.shape == (1, 768 + 5 * (96 + 96 + 192 + 192 + 384 + 384 + 768 + 768))


@pytest.mark.parametrize(("samples", "features", "components"), [(40, 10, 16), (12, 30, 16), (200, 90, 16)])
def test_vectors_are_standardised_and_of_length_one(samples: int, features: int, components: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(samples, 4) @ torch.randn(4, features) * torch.logspace(-2, 2, features) + 5
    x[:, 3] = 7.0  # a feature that tells nothing
    vectors = projection_of(x, components=components)(x)
    naive = (x - x.mean(0)) / x.std(0, correction=0).clamp(min=1e-9) / math.sqrt(features - 1)
    naive[:, 3] = 0
    assert vectors.shape == (samples, min(components, samples, features) if features > components else features)
    # four directions are all that there are, so nothing is lost: products of vectors stay what they were
    assert torch.allclose(vectors @ vectors.T, naive @ naive.T, atol=1e-4)
    assert abs(float(vectors.square().sum(1).mean()) - 1) < 1e-3


def test_components_come_in_order_and_are_always_the_same() -> None:
    torch.manual_seed(0)
    x = torch.randn(300, 120) @ torch.randn(120, 120)
    layer = projection_of(x, components=20)
    spread = layer(x).var(0)
    assert (spread[:-1] >= spread[1:] - 1e-6).all()
    assert torch.equal(projection_of(x, components=20).weight, layer.weight)
    z = (x - x.mean(0)) / x.std(0, correction=0) / math.sqrt(120)
    exact = torch.linalg.svdvals(z)[:20].square().sum()
    assert layer(x).square().sum() > 0.98 * exact


def test_the_decay_that_predicts_best_is_chosen() -> None:
    torch.manual_seed(0)
    y = torch.arange(200) % 4
    x = (F.one_hot(y, 4).float() @ torch.randn(4, 30) + 3 * torch.randn(200, 30)) / math.sqrt(30)
    folds = folds_of(y, folds=4)
    scores = cross_validate(x, y, F.cross_entropy, num_classes=4, folds=folds, decays=(10.0, 1e-2, 1e-7))
    assert choose_decay(scores, (10.0, 1e-2, 1e-7)) == (10.0, 1e-2, 1e-7)[max(range(3), key=lambda i: scores[i])]
    assert scores[1] > 0.3
    assert choose_decay([0.5, 0.5, 0.4], (1.0, 0.1, 0.01)) == 1.0
