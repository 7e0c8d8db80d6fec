"""OLTR: identities of its attention, memory, classifier and centroid loss; what its stages train."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from longtail.methods._memory import MemoryHead, ModulatedAttention, centroid_loss, squash
from longtail.training.apply import evaluate, export
from longtail.training.config import RunConfig
from longtail.training.files import load_tensors, read_csv
from longtail.training.run import train


def head(classes: int = 4, size: int = 5, **options: Any) -> MemoryHead:
    return MemoryHead(nn.Linear(size, classes), **{"scale": 16.0, "slow": 0.1} | options)


def begun(classes: int = 4, size: int = 5, **options: Any) -> MemoryHead:
    memory = head(classes, size, **options)
    memory.begin()
    memory.remember(torch.randn(10 * classes, size), torch.arange(10 * classes) % classes)
    return memory


@pytest.mark.parametrize("shape", [(2, 6, 3, 4), (2, 6, 2, 3, 4)])
def test_new_attention_leaves_features_as_they_are(shape: tuple[int, ...]) -> None:
    maps = torch.randn(shape)
    attention = ModulatedAttention(6)
    assert torch.equal(attention(maps), maps)
    nn.init.normal_(attention.out.weight)
    assert not torch.allclose(attention(maps), maps)


def test_attention_is_what_a_loop_over_the_positions_gives() -> None:
    attention, maps = ModulatedAttention(4).double(), torch.randn(1, 4, 2, 3, dtype=torch.float64)
    nn.init.normal_(attention.out.weight)
    nn.init.normal_(attention.out.bias)
    f = [maps[0, :, i, j] for i in range(2) for j in range(3)]
    where = torch.stack([attention.where(x)[0] for x in f]).exp()
    for n, x in enumerate(f):
        likeness = torch.stack([attention.query(x) @ attention.key(y) for y in f]).exp()
        mixed = sum(w * attention.value(y) for w, y in zip(likeness / likeness.sum(), f, strict=True))
        expected = x + where[n] / where.sum() * attention.out(mixed)
        torch.testing.assert_close(attention(maps)[0, :, n // 3, n % 3], expected)


def test_at_first_it_is_the_linear_classifier() -> None:
    memory, x = head(), torch.randn(3, 5, requires_grad=True)
    for training in (True, False):
        assert torch.equal(memory.train(training)(x), memory.linear(x))
    (ours,) = torch.autograd.grad(memory.train()(x).square().sum(), x)
    (plain,) = torch.autograd.grad(memory.linear(x).square().sum(), x)
    assert torch.equal(ours, plain)


def test_with_one_class_the_memory_is_its_centroid() -> None:
    memory, x = begun(classes=1).eval().double(), torch.randn(3, 5, dtype=torch.float64)
    centroid = memory.centroids[0]
    e = torch.tanh(F.linear(x, memory.selector.weight, memory.selector.bias))
    v = 10 / (x - centroid).norm(dim=1, keepdim=True) * (x + e * centroid)
    v = v / (1 + v.norm(dim=1, keepdim=True))
    expected = 16 * v @ (memory.weight / memory.weight.norm(dim=1, keepdim=True)).T
    torch.testing.assert_close(memory(x), expected)


def test_the_memory_starts_from_the_linear_classifier_and_the_class_means() -> None:
    memory = head()
    features, target = torch.randn(30, 5), torch.arange(30) % 3  # the last class has no sample
    memory.begin()
    memory.remember(features, target)
    assert torch.equal(memory.hallucinator.weight, memory.linear.weight)
    assert torch.equal(memory.hallucinator.bias, memory.linear.bias)
    for c in range(3):
        torch.testing.assert_close(memory.centroids[c], features[target == c].mean(0))
    assert memory.known.tolist() == [True, True, True, False]
    near = memory(features[:2])
    with torch.no_grad():
        memory.centroids[3] = features[0]  # nobody's: it is near to no sample
    assert not torch.allclose(near, memory(features[:2]))  # ... but it is brought to mind
    memory.known[3] = True
    assert torch.isfinite(memory(features[:2])).all()  # at a distance of 0


def test_gradients_of_features_are_slowed_and_values_are_not() -> None:
    memory, x = begun(slow=0.1), torch.randn(3, 5, requires_grad=True)
    quick = begun(slow=1.0)
    quick.load_state_dict(memory.state_dict())
    assert torch.equal(memory(x), quick(x)) and torch.equal(memory(x), memory.eval()(x))
    (slow,), (plain,) = (torch.autograd.grad(h.train()(x).square().sum(), x) for h in (memory, quick))
    torch.testing.assert_close(slow, 0.1 * plain)


@given(st.integers(0, 1000), st.floats(1e-3, 1e3))
def test_squashed_features_are_shorter_than_1_and_keep_their_direction(seed: int, length: float) -> None:
    x = F.normalize(torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))) * length
    squashed = squash(x)
    assert float(squashed.norm(dim=1).max()) < 1
    torch.testing.assert_close(F.normalize(squashed), F.normalize(x))
    torch.testing.assert_close(squashed.norm(dim=1), torch.full((4,), length / (1 + length), dtype=torch.float64))


def naive(x: torch.Tensor, target: list[int], centroids: torch.Tensor, known: list[bool], margin: float) -> float:
    attract = sum(float((a - centroids[y]).square().sum()) for a, y in zip(x, target, strict=True)) / 2 / len(x)
    far = [
        float((a - m).square().sum())
        for a, y in zip(x, target, strict=True)
        for c, m in enumerate(centroids)
        if c != y and known[c]
    ]
    return attract + 0.01 * max(0.0, margin - sum(far) / len(far))


@pytest.mark.parametrize("margin", [10.0, 100.0])
def test_the_centroid_loss_is_what_a_loop_gives(margin: float) -> None:
    x, target = torch.randn(6, 5, dtype=torch.float64), [0, 1, 2, 0, 1, 0]
    centroids, known = torch.randn(4, 5, dtype=torch.float64), [True, True, True, False]
    loss = centroid_loss(x, torch.tensor(target), centroids, torch.tensor(known), margin=margin)
    assert float(loss) == pytest.approx(naive(x, target, centroids, known, margin))
    arguments = (x.requires_grad_(), centroids.requires_grad_())
    torch.autograd.gradcheck(
        lambda a, m: centroid_loss(a, torch.tensor(target), m, torch.tensor(known), margin=margin), arguments
    )


def test_the_centroid_loss_is_zero_at_the_own_centroid_far_from_the_others() -> None:
    centroids, target = 10 * torch.eye(3), torch.tensor([0, 2])
    known = torch.ones(3, dtype=torch.bool)
    assert float(centroid_loss(centroids[target], target, centroids, known)) == 0
    near = centroid_loss(centroids[target] / 100, target, centroids / 100, known)
    assert float(near) == pytest.approx(0.01 * (10 - 0.02))  # nothing but repelled
    one = centroid_loss(torch.ones(2, 3), torch.zeros(2, dtype=torch.int64), torch.zeros(1, 3), known[:1])
    assert float(one) == pytest.approx(1.5)  # there is no other class


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("oltr") / "run"
    options: dict[str, Any] = {
        "data": "digits", "model": "resnet20", "image_size": 8, "imbalance": 10, "epochs": 3, "batch_size": 128,
        "lr": 0.05, "schedule": "cosine", "warmup_epochs": 0, "device": "cpu", "final": "last",
    }  # fmt: skip
    train(RunConfig(**options, method="oltr"), folder)
    train(RunConfig(**options | {"epochs": 1}, method="ce"), folder.parent / "plain")
    return folder


def test_both_stages_run_and_the_model_has_attention_and_memory(run) -> None:
    assert [row["stage"] for row in read_csv(run / "history.csv")] == ["plain", "memory", "memory"]
    weights = load_tensors(run / "model.safetensors")
    assert bool(weights["fc.active"]) and weights["fc.centroids"].any() and weights["fc.known"].all()
    assert weights["blocks.1.out.weight"].any()  # it has learnt
    assert all(math.isfinite(float(row["train_loss"])) for row in read_csv(run / "history.csv"))


def test_the_saved_model_is_judged_and_exported_as_any(run, tmp_path) -> None:
    assert evaluate(run, device="cpu")["top1"] > 0.1
    assert export(run, format="onnx", out=tmp_path / "model.onnx").is_file()
