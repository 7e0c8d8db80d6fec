"""Laws of ClassDifficulty: measuring, absent classes, smoothing, state, devices and processes."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import io
import math
import pickle

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from safetensors.torch import load, save
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from longtail.difficulty import ClassDifficulty, DifficultyOptions, all_reduce_sum
from longtail.errors import LongtailError
from longtail.functional import (
    add_class_sums,
    class_performance,
    class_sums,
    difficulty_weights,
    dynamic_tau,
    performance_bias,
    shrunk_performance,
)
from longtail.methods.cdb_w import CDBW


def answers(accuracy: list[float], samples: int = 10) -> tuple[torch.Tensor, torch.Tensor]:
    """Predictions and targets with the given accuracy of each class (None: no sample of it)."""
    prediction, target = [], []
    for c, a in enumerate(accuracy):
        if a is not None:
            right = round(a * samples)
            target += [c] * samples
            prediction += [c] * right + [(c + 1) % len(accuracy)] * (samples - right)
    return torch.tensor(prediction), torch.tensor(target)


def measured(difficulty: ClassDifficulty, *rounds: list[float]) -> ClassDifficulty:
    for accuracy in rounds:
        difficulty.update(*answers(accuracy))
        difficulty.step()
    return difficulty


def test_before_the_first_measurement_all_weights_are_one():
    difficulty = ClassDifficulty(4, tau="sigmoid")
    assert difficulty.weight.tolist() == [1] * 4
    assert difficulty.bias == difficulty.tau == difficulty.steps == 0
    assert difficulty.performance.isnan().all()
    assert difficulty.difficulty.isnan().all()


@given(st.lists(st.integers(0, 10).map(lambda m: m / 10), min_size=2, max_size=6), st.booleans())
def test_a_step_is_the_pure_functions_of_the_accuracy(accuracy, normalize):
    difficulty = measured(
        ClassDifficulty(len(accuracy), normalize=normalize, tau="log", max_tau=3, eps=0.02, momentum=0), accuracy
    )
    performance = torch.tensor(accuracy)
    options = {"max_tau": 3, "eps": 0.02}
    bias = performance_bias(performance, eps=0.02)
    torch.testing.assert_close(difficulty.performance, performance)
    torch.testing.assert_close(difficulty.difficulty, 1 - performance)
    torch.testing.assert_close(difficulty.bias, bias)
    torch.testing.assert_close(difficulty.tau, dynamic_tau(bias, growth="log", **options))
    expected = difficulty_weights(performance, tau="log", normalize=normalize, **options)
    torch.testing.assert_close(difficulty.weight, expected)


def test_batches_logits_and_indices_add_up():
    logits, target = torch.randn(100, 3), torch.randint(3, (100,))
    one, other = ClassDifficulty(3), ClassDifficulty(3)
    one.update(logits, target)
    for z, y in zip(logits.split(30), target.split(30), strict=True):
        other.update(z.argmax(1), y)
    assert torch.equal(one.step(), other.step())


def test_step_forgets_the_counts_and_counts_its_calls():
    difficulty = measured(ClassDifficulty(2, momentum=0), [1, 0], [0.5, 0.5])
    assert difficulty.performance.tolist() == [0.5, 0.5]
    assert difficulty.steps == 2


def test_performance_instead_of_counts():
    difficulty = ClassDifficulty(3, momentum=0)
    difficulty.update(*answers([1, 1, 1]))
    difficulty.step(performance=torch.tensor([0.2, 0.4, 0.9], dtype=torch.float64))
    assert difficulty.performance.tolist() == pytest.approx([0.2, 0.4, 0.9])
    with pytest.raises(LongtailError, match="no prediction since the last step"):
        difficulty.step()
    difficulty.step([1.0, 0.5, 0.0])
    assert difficulty.performance.tolist() == [1, 0.5, 0]


def test_the_returned_weights_are_a_copy_and_the_held_ones_are_live():
    difficulty = ClassDifficulty(2, momentum=0)
    held = difficulty.weight
    first = difficulty.step([0.9, 0.1])
    second = difficulty.step([0.1, 0.9])
    assert first.tolist() == second.flip(0).tolist()
    assert torch.equal(held, second)


def test_fixed_tau_is_kept_and_all_perfect_is_uniform():
    difficulty = measured(ClassDifficulty(3, tau=1.5), [1, 1, 1])
    assert difficulty.tau == 1.5
    assert difficulty.weight.tolist() == [1, 1, 1]


@given(st.lists(st.tuples(st.integers(0, 10), st.integers(1, 500)), min_size=2, max_size=6))
def test_sample_normalised_weights_average_to_one_over_the_training_samples(classes):
    performance, counts = [m / 10 for m, _ in classes], [n for _, n in classes]
    scaled = ClassDifficulty(len(counts), tau=2, normalize="samples", class_counts=counts)
    plain = ClassDifficulty(len(counts), tau=2, normalize=True)
    weight, sum_to_c = scaled.step(performance), plain.step(performance)
    samples = sum(w * n for w, n in zip(weight.tolist(), counts, strict=True))
    assert samples / sum(counts) == pytest.approx(1, rel=1e-4)
    # Only the scale differs.
    torch.testing.assert_close(weight / weight.sum(), sum_to_c / sum_to_c.sum())


def test_sample_normalised_weights_need_the_class_counts():
    with pytest.raises(LongtailError, match="needs class_counts"):
        ClassDifficulty(2, normalize="samples")
    for counts in ([1], [0, 0], [-1, 2]):
        with pytest.raises(LongtailError, match="class_counts must be"):
            ClassDifficulty(2, normalize="samples", class_counts=counts)
    # The hard class has no training sample: there is nothing to scale by.
    absent = ClassDifficulty(2, tau=2, normalize="samples", class_counts=[0, 5])
    assert absent.step([0.0, 1.0]).isfinite().all()


def test_floor_keeps_a_perfect_class():
    difficulty = measured(ClassDifficulty(2, tau=1, min_difficulty=0.1, momentum=0), [1, 0])
    assert difficulty.weight.tolist() == pytest.approx([2 / 11, 20 / 11])
    assert difficulty.difficulty.tolist() == pytest.approx([0.1, 1])


def test_one_class():
    assert measured(ClassDifficulty(1), [0.3], [1.0]).weight.tolist() == [1]


def test_thousands_of_classes_with_few_samples():
    target = torch.arange(5000).repeat(2)
    difficulty = ClassDifficulty(5000)
    difficulty.update(torch.where(torch.rand(10000) < 0.5, target, 0), target)
    assert float(difficulty.step().double().sum()) == pytest.approx(5000, rel=1e-5)


# Smoothing


@pytest.mark.parametrize("trained", [False, True])
def test_momentum_is_an_exponential_average_that_starts_from_the_mean_of_all_classes(trained):
    """From what was measured first, if the model was trained already."""
    difficulty = ClassDifficulty(2, momentum=0.8)
    expected = [0.9, 0.2] if trained else [(0.9 + 0.2) / 2] * 2
    for accuracy in ([0.9, 0.2], [0.5, 0.5], [0, 0.9]):
        difficulty.step(accuracy, trained=trained)
        expected = [0.8 * old + 0.2 * new for old, new in zip(expected, accuracy, strict=True)]
        assert difficulty.performance.tolist() == pytest.approx(expected)


def test_a_class_that_is_measured_later_starts_from_the_mean_of_that_time():
    difficulty = ClassDifficulty(3, momentum=0.8)
    difficulty.step([0.2, 0.4, math.nan])
    difficulty.step([0.8, 0.6, 0.1])
    assert float(difficulty.performance[2]) == pytest.approx(0.8 * (0.8 + 0.6 + 0.1) / 3 + 0.2 * 0.1)


def test_a_network_that_answers_one_class_for_everything_does_not_make_that_class_easy():
    """As it begins training; taken as measured, the class would have weight 0 for epochs."""
    difficulty = measured(ClassDifficulty(10), [1] + [0] * 9)
    assert 0.5 < float(difficulty.weight[0] / difficulty.weight[1]) < 1
    for _ in range(30):  # a class that stays perfect is easy in the end
        measured(difficulty, [1] + [0] * 9)
    assert float(difficulty.weight[0] / difficulty.weight[1]) < 1e-4


# A class that the held-out split lacks


def test_keep_holds_the_last_performance_exactly_also_with_momentum():
    difficulty = measured(ClassDifficulty(3, momentum=0.3), [0.3, 0.7, 0.6])
    before = float(difficulty.performance[1])
    assert float(measured(difficulty, [0.5, None, 0.6]).performance[1]) == before
    assert float(measured(difficulty, [0.5, 0.7, 0.6]).performance[1]) == pytest.approx(0.3 * before + 0.7 * 0.7)


def test_keep_leaves_a_class_that_was_never_measured_out_of_everything():
    difficulty = measured(ClassDifficulty(3), [0.9, None, 0.3])
    alone = measured(ClassDifficulty(2), [0.9, 0.3])
    assert difficulty.weight[1] == 1
    assert difficulty.performance[1].isnan()
    assert torch.equal(difficulty.weight[[0, 2]], alone.weight)
    assert torch.equal(difficulty.bias, alone.bias)
    assert float(difficulty.weight.sum()) == pytest.approx(3)


def test_hard_counts_an_absent_class_as_never_right():
    absent = measured(ClassDifficulty(3, absent="hard"), [0.9, None, 0.3])
    failed = measured(ClassDifficulty(3), [0.9, 0.0, 0.3])
    assert torch.equal(absent.weight, failed.weight)


def test_error_names_the_absent_classes_and_changes_nothing():
    difficulty = measured(ClassDifficulty(9, absent="error"), [0.5] * 9)
    before = copy.deepcopy(difficulty.state_dict())
    with pytest.raises(LongtailError, match=r"no sample of class 1, 2, 3, 4, 5 and 2 more"):
        difficulty.step(torch.tensor([0.5] + [math.nan] * 7 + [0.5]))
    for name, value in difficulty.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert difficulty.step([0.5] * 9).tolist() == [1] * 9


# Options


def test_the_options_are_named_in_one_place():
    """Keywords, their defaults and what they mean are those of `DifficultyOptions`."""
    fields = {field.name: field.default for field in dataclasses.fields(DifficultyOptions)}
    keywords = inspect.signature(ClassDifficulty).parameters
    assert {name: p.default for name, p in keywords.items()} == {
        "num_classes": inspect.Parameter.empty,
        "class_counts": None,
    } | fields
    assert ClassDifficulty(3, tau="log", eps=0.1).options == DifficultyOptions(tau="log", eps=0.1)
    for described in (ClassDifficulty, CDBW):
        for name in fields:
            assert f"        {name}: " in described.__doc__, f"{described.__name__} does not say what {name} is"
    with pytest.raises(TypeError, match="'tua'"):
        ClassDifficulty(3, tua=2)


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "num_classes is 0"),
        ({"num_classes": 2.5}, "num_classes is 2.5"),
        ({"tau": "fast"}, "unknown tau rule 'fast'"),
        ({"tau": -0.5}, "tau is -0.5"),
        ({"max_tau": "x"}, "max_tau is 'x'"),
        ({"tau": 1.0, "eps": 0.0}, "eps is 0.0"),
        ({"tau": 1.0, "power": -1}, "power is -1"),
        ({"min_difficulty": -0.1}, "min_difficulty is -0.1"),
        ({"momentum": 1.0}, r"momentum is 1.0: it must be a number in \[0, 1\)"),
        ({"absent": "skip"}, "unknown absent policy 'skip': known are keep, hard, error"),
        ({"bias_quantile": 0.5}, r"bias_quantile is 0.5: it must be a number in \[0, 0.5\)"),
        ({"measure": "auc"}, "unknown measure 'auc': known are recall, precision, f1, soft, loss, ap"),
        ({"shrinkage": -1}, "shrinkage is -1"),
        ({"shrinkage": "a lot"}, "shrinkage is 'a lot'"),
        ({"source": "test"}, "unknown source 'test': known are held-out, train"),
    ],
)
def test_options_are_checked_when_it_is_built(arguments, message):
    with pytest.raises(LongtailError, match=message):
        ClassDifficulty(**{"num_classes": 3} | arguments)


@pytest.mark.parametrize(
    ("prediction", "target", "message"),
    [
        (torch.zeros(2, 3), torch.tensor([0, 3]), "label 3 is out of range"),
        (torch.zeros(2, 3), torch.tensor([0, -1]), "label -1 is out of range"),
        (torch.full((2, 3), math.nan), torch.tensor([0, 1]), "NaN logits"),
        (torch.zeros(2, 5), torch.tensor([0, 1]), r"\[B, 3\]"),
    ],
)
def test_a_bad_batch_is_refused_and_not_counted(prediction, target, message):
    difficulty = ClassDifficulty(3)
    with pytest.raises(LongtailError, match=message):
        difficulty.update(prediction, target)
    with pytest.raises(LongtailError, match="no prediction since the last step"):
        difficulty.step()


@pytest.mark.parametrize(
    ("performance", "message"),
    [
        (torch.tensor([0.1, 0.2]), r"must have shape \[3\], not \[2\]"),
        (torch.tensor([0.1, 0.2, 1.2]), "performance of class 2 is 1.2"),
        (torch.tensor([math.nan, 0.2, -1.0]), "performance of class 2 is -1"),
        (torch.full((3,), math.nan), "no class was measured"),
    ],
)
def test_a_bad_performance_is_refused(performance, message):
    difficulty = ClassDifficulty(3)
    with pytest.raises(LongtailError, match=message):
        difficulty.step(performance)
    assert difficulty.steps == 0


# Other measures, shrinkage, bias by quantiles, training batches

MEASURES = ("recall", "precision", "f1", "soft", "loss", "ap")
every_measure = pytest.mark.parametrize("measure", MEASURES)


@every_measure
@given(st.integers(0, 100), st.sampled_from([0, 2, "auto"]), st.sampled_from([0, 0.2]), st.sampled_from([1, "log"]))
def test_weights_are_finite_and_not_negative_whatever_the_options(measure, seed, shrinkage, quantile, tau):
    generator = torch.Generator().manual_seed(seed)
    difficulty = ClassDifficulty(5, measure=measure, shrinkage=shrinkage, bias_quantile=quantile, tau=tau)
    for _ in range(2):
        target = torch.randint(4, (12,), generator=generator)  # class 4, and maybe others, have no sample
        difficulty.update(3 * torch.randn(12, 5, generator=generator), target)
        weight = difficulty.step()
        assert bool((torch.isfinite(weight) & (weight >= 0)).all())


@every_measure
def test_a_step_is_the_measure_of_what_was_counted_then_shrunk(measure):
    logits, target = torch.randn(60, 4), torch.randint(4, (60,))
    difficulty = ClassDifficulty(4, measure=measure, shrinkage=5, tau="log", bias_quantile=0.2, momentum=0)
    for z, y in zip(logits.split(7), target.split(7), strict=True):
        difficulty.update(z, y)
    difficulty.step()
    sums = class_sums(logits, target, num_classes=4, measure=measure)
    performance = shrunk_performance(*class_performance(sums, measure=measure), strength=5)
    assert torch.equal(difficulty.performance, performance)
    assert torch.equal(difficulty.bias, performance_bias(performance, quantile=0.2))


@every_measure
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64])
def test_ignored_targets_are_as_if_they_were_not_there(measure, dtype):
    logits, target = torch.randn(2, 4, 5, 6), torch.randint(4, (2, 5, 6))
    target[torch.rand(target.shape) < 0.3] = 255
    logits[0, 0, 0, 0], target[0, 0, 0] = math.nan, 255
    kept = target != 255
    rows = ClassDifficulty(4, measure=measure)
    rows.update(logits.movedim(1, -1)[kept], target[kept])
    dense = ClassDifficulty(4, measure=measure)
    dense.update(logits, target.to(dtype), ignore_index=255)
    assert torch.equal(dense.get_extra_state(), rows.get_extra_state())
    with pytest.raises(LongtailError, match="label 255 is out of range"):
        dense.update(logits, target.to(dtype))
    assert torch.equal(dense.get_extra_state(), rows.get_extra_state())


@every_measure
def test_updates_add_up_to_the_sums_of_all_samples(measure):
    logits, target = torch.randn(50, 4), torch.randint(4, (50,))
    sums = torch.zeros_like(class_sums(logits, target, num_classes=4, measure=measure))
    for z, y in zip(logits.split(9), target.split(9), strict=True):
        add_class_sums(sums, z, y, measure=measure)
    assert torch.equal(sums, class_sums(logits, target, num_classes=4, measure=measure))


def test_a_performance_that_is_given_is_not_shrunk():
    difficulty = ClassDifficulty(2, shrinkage=50, measure="ap", momentum=0)
    difficulty.step([0.25, 0.75])
    assert difficulty.performance.tolist() == [0.25, 0.75]


def test_a_measure_that_needs_logits_refuses_indices_and_counts_nothing():
    difficulty = ClassDifficulty(2, measure="soft")
    with pytest.raises(LongtailError, match="measure 'soft' needs logits"):
        difficulty.update(torch.tensor([0, 1]), torch.tensor([0, 1]))
    with pytest.raises(LongtailError, match="no prediction since the last step"):
        difficulty.step()


def test_training_batches_are_counted_like_others_but_not_searched_for_nan():
    difficulty = ClassDifficulty(2, source="train", absent="error")
    difficulty.update(torch.tensor([[1.0, 0.0], [math.nan, 0.0]]), torch.tensor([0, 0]))
    with pytest.raises(LongtailError, match="this epoch had no sample of class 1"):
        difficulty.step()
    with pytest.raises(LongtailError, match="label 2 is out of range"):
        difficulty.update(torch.zeros(1, 2), torch.tensor([2]))


# State


def in_the_middle() -> ClassDifficulty:
    """Two steps, a class that was seen only in the first, and half of a third measurement."""
    difficulty = measured(ClassDifficulty(4, momentum=0.5), [0.9, 0.5, None, 0.1], [0.8, None, None, 0.2])
    difficulty.update(*answers([0.7, 0.4, None, 0.3]))
    return difficulty


def save_and_load(difficulty: ClassDifficulty) -> ClassDifficulty:
    file = io.BytesIO()
    torch.save(difficulty.state_dict(), file)
    file.seek(0)
    fresh = ClassDifficulty(4, momentum=0.5)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    return fresh


def through_safetensors(difficulty: ClassDifficulty) -> ClassDifficulty:
    fresh = ClassDifficulty(4, momentum=0.5)
    fresh.load_state_dict(load(save(difficulty.state_dict())))
    return fresh


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d)), save_and_load, through_safetensors]
)
def test_a_copy_continues_exactly(copied):
    original = in_the_middle()
    twin = copied(original)
    original_before = original.weight.clone()
    twin.update(*answers([0.0, 0.0, 0.5, 0.0]))
    assert torch.equal(original.weight, original_before)  # nothing is shared
    original.update(*answers([0.0, 0.0, 0.5, 0.0]))
    original.step()
    twin.step()
    for (name, one), other in zip(original.state_dict().items(), twin.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


def test_the_state_dict_is_that_of_this_moment():
    difficulty = in_the_middle()
    state = difficulty.state_dict()
    difficulty.update(*answers([1, 1, 1, 1]))
    twin = ClassDifficulty(4)
    twin.load_state_dict(state)
    assert int(twin.get_extra_state()[1].sum()) == 30


@every_measure
def test_a_state_dict_in_the_middle_of_an_epoch_holds_what_was_counted(measure):
    options = {"measure": measure, "shrinkage": "auto", "source": "train"}
    original, twin = ClassDifficulty(4, **options), ClassDifficulty(4, **options)
    original.update(*shard(0))
    original.step()
    original.update(*shard(1))
    file = io.BytesIO()
    torch.save(original.state_dict(), file)
    file.seek(0)
    twin.load_state_dict(torch.load(file, weights_only=True))
    for difficulty in (original, twin):
        difficulty.update(*shard(0))
    assert torch.equal(original.step(), twin.step())
    assert torch.equal(original.performance, twin.performance)


@pytest.mark.parametrize("cast", ["half", "bfloat16", "double", "to"])
def test_numbers_stay_float32_when_a_surrounding_model_is_cast(cast):
    model = nn.ModuleDict({"head": nn.Linear(2, 2), "difficulty": in_the_middle()})
    before = copy.deepcopy(model["difficulty"].state_dict())
    model.to(torch.bfloat16) if cast == "to" else getattr(model, cast)()
    assert model["head"].weight.dtype != torch.float32
    for name, value in model["difficulty"].state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.equal(value.nan_to_num(-1), before[name].nan_to_num(-1)), name
    model["difficulty"].step()


def test_built_on_the_meta_device_and_moved():
    with torch.device("meta"):
        difficulty = ClassDifficulty(4)
    difficulty.to_empty(device="cpu").load_state_dict(in_the_middle().state_dict())
    assert torch.equal(difficulty.weight, in_the_middle().weight)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu():
    on_cpu, on_gpu = in_the_middle(), in_the_middle().cuda()
    logits, target = torch.randn(20, 4), torch.randint(4, (20,))
    on_cpu.update(logits.cuda(), target.cuda())
    on_gpu.update(logits, target)
    assert on_gpu.step().is_cuda
    torch.testing.assert_close(on_cpu.step(), on_gpu.weight.cpu())


def test_works_under_inference_mode_and_leaves_weights_that_autograd_accepts():
    difficulty = ClassDifficulty(2)
    with torch.inference_mode():
        measured(difficulty, [0.9, 0.2])
    factor = torch.ones(2, requires_grad=True)
    (difficulty.weight * factor).sum().backward()
    assert torch.equal(factor.grad, difficulty.weight)
    measured(difficulty, [0.5, 0.4])


# Two processes


def shard(rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    logits, target = torch.randn(101, 4, generator=generator), torch.randint(4, (101,), generator=generator)
    return (logits, target) if rank is None else (logits[rank::2], target[rank::2])


def step_in_each(rank: int) -> list:
    difficulty = ClassDifficulty(4, momentum=0.5)
    weights = []
    for _ in range(2):
        difficulty.update(*shard(rank))
        weights.append(difficulty.step().tolist())
    return weights


def test_two_processes_measure_what_one_does(run_two):
    difficulty = ClassDifficulty(4, momentum=0.5)
    expected = []
    for _ in range(2):
        difficulty.update(*shard(None))
        expected.append(difficulty.step().tolist())
    assert run_two(step_in_each) == [expected, expected]


def measure_in_each(rank: int | None, measure: str) -> list[float]:
    difficulty = ClassDifficulty(4, measure=measure, shrinkage="auto")
    difficulty.update(*shard(rank))
    difficulty.step()
    return difficulty.performance.tolist()


@every_measure
def test_two_processes_measure_what_one_does_to_the_last_bit(run_two, measure):
    assert run_two(measure_in_each, measure) == [measure_in_each(None, measure)] * 2


def step_with_an_empty_shard(rank: int) -> list:
    difficulty = ClassDifficulty(4)
    if rank == 0:
        difficulty.update(*shard(None))
    return difficulty.step().tolist()


def test_a_process_without_held_out_samples_takes_part(run_two):
    first, second = run_two(step_with_an_empty_shard)
    assert first == second


class Wrapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.difficulty = ClassDifficulty(4, momentum=0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x)


def step_inside_ddp(rank: int) -> list:
    torch.manual_seed(0)
    model = DistributedDataParallel(Wrapped())
    weights = []
    for _ in range(2):
        logits, target = shard(rank)
        for z, y in zip(logits.split(17), target.split(17), strict=True):  # 3 batches on either side
            model(torch.zeros(2, 3))  # DDP broadcasts the buffers of process 0 here
            model.module.difficulty.update(z, y)
        weights.append(model.module.difficulty.step().tolist())
    model(torch.zeros(2, 3))
    weights.append(model.module.difficulty.weight.tolist())
    return weights


def test_the_buffer_broadcast_of_ddp_does_no_harm(run_two):
    difficulty = ClassDifficulty(4, momentum=0)
    difficulty.update(*shard(None))
    expected = difficulty.step().tolist()
    assert run_two(step_inside_ddp) == [[expected] * 3] * 2


def sum_over_both(rank: int) -> list:
    tensor = torch.tensor([1, 10]) * (rank + 1)
    return [all_reduce_sum(tensor).tolist(), tensor.tolist()]


def test_all_reduce_sum_leaves_its_argument_alone(run_two):
    assert run_two(sum_over_both) == [[[3, 30], [1, 10]], [[3, 30], [2, 20]]]
    alone = torch.tensor([1, 2])
    assert all_reduce_sum(alone) is alone


def fail_in_one(rank: int) -> int:
    if rank == 1:
        raise LongtailError("only here")
    return rank


def test_a_failure_in_one_process_is_told_and_the_next_job_runs(run_two):
    with pytest.raises(RuntimeError, match="only here"):
        run_two(fail_in_one)
    assert run_two(sum_over_both)[0][0] == [3, 30]
