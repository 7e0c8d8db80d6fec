"""Laws of ShotAccuracy and Classification."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support, top_k_accuracy_score

from longtail.errors import LongtailError
from longtail.functional.counting import confusion_cells
from longtail.metrics import Classification, ShotAccuracy, _confusion, shot_accuracy, shot_groups

COUNTS = [500, 101, 100, 20, 19, 3, 0]  # both bounds of many and few, and a class without training samples


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(300, 7), torch.randint(7, (300,))


def class_accuracy(logits: torch.Tensor, target: torch.Tensor) -> list[float | None]:
    result = []
    for c in range(7):
        answers = [p == c for p, y in zip(logits.argmax(1).tolist(), target.tolist(), strict=True) if y == c]
        result.append(sum(answers) / len(answers) if answers else None)
    return result


def test_groups_many_above_100_few_below_20_by_default():
    groups = {name: group.nonzero().flatten().tolist() for name, group in shot_groups(COUNTS).items()}
    assert groups == {"many": [0, 1], "medium": [2, 3], "few": [4, 5, 6]}


def test_every_class_is_in_one_group():
    for many, few in ((100, 20), (5, 5), (4, 5), (0, 0)):
        membership = torch.stack(list(shot_groups(torch.arange(10), many=many, few=few).values())).sum(0)
        assert membership.tolist() == [1] * 10


def test_groups_that_overlap_are_refused():
    with pytest.raises(LongtailError, match="few=50 is above many=10"):
        ShotAccuracy(COUNTS, many=10, few=50)


def test_shot_accuracy_is_a_mean_over_classes_and_all_is_one_over_samples(batch):
    metric = ShotAccuracy(COUNTS)
    for logits, target in zip(batch[0].split(70), batch[1].split(70), strict=True):
        metric.update(logits, target)
    a = class_accuracy(*batch)
    expected = {
        "all": float((batch[0].argmax(1) == batch[1]).double().mean()),
        "many": (a[0] + a[1]) / 2,
        "medium": (a[2] + a[3]) / 2,
        "few": (a[4] + a[5] + a[6]) / 3,
    }
    assert metric.compute() == pytest.approx(expected)
    assert list(metric.compute()) == ["all", "many", "medium", "few"]
    metric.reset()
    metric.update(torch.tensor([0, 1]), torch.tensor([0, 0]))
    assert metric.compute()["all"] == 0.5


def test_absent_classes_are_left_out_and_an_empty_group_is_none():
    metric = ShotAccuracy([500, 400, 50, 2])
    metric.update(torch.tensor([0, 0, 2]), torch.tensor([0, 0, 3]))
    assert metric.compute() == {"all": pytest.approx(2 / 3), "many": 1, "medium": None, "few": 0}
    assert shot_accuracy(torch.tensor([math.nan, 0.5]), shot_groups([500, 5])) == {
        "many": None,
        "medium": None,
        "few": 0.5,
    }


def test_classification_agrees_with_scikit_learn(batch):
    logits, target = batch
    metric = Classification(COUNTS)
    for z, y in zip(logits.split(64), target.split(64), strict=True):
        metric.update(z, y)
    result = metric.compute()
    predicted = logits.argmax(1)
    precision, recall, f1, _ = precision_recall_fscore_support(target, predicted, average="macro", zero_division=0)
    assert (result["precision"], result["recall"], result["f1"]) == pytest.approx((precision, recall, f1))
    assert result["top1"] == pytest.approx(top_k_accuracy_score(target, logits, k=1))
    assert result["top5"] == pytest.approx(top_k_accuracy_score(target, logits, k=5))
    assert result["confusion"].tolist() == confusion_matrix(target, predicted).tolist()
    assert result["per_class"] == pytest.approx(class_accuracy(logits, target))


def test_classification_and_shot_accuracy_agree(batch):
    one, other = Classification(COUNTS), ShotAccuracy(COUNTS)
    one.update(*batch)
    other.update(*batch)
    result, shots = one.compute(), other.compute()
    assert result["top1"] == shots.pop("all")
    assert {name: result[name] for name in shots} == shots


def test_absent_classes_are_none_and_left_out_of_the_macro_means():
    metric = Classification([9, 9, 9])
    metric.update(torch.tensor([0, 1, 1, 2]), torch.tensor([0, 0, 1, 1]))
    result = metric.compute()
    assert result["per_class"] == [0.5, 0.5, None]
    assert result["recall"] == 0.5
    assert result["precision"] == pytest.approx((1 + 0.5) / 2)
    assert result["many"] is result["medium"] is None
    assert result["few"] == 0.5


def test_a_class_never_predicted_has_precision_zero():
    metric = Classification([9, 9])
    metric.update(torch.tensor([0, 0, 0]), torch.tensor([0, 0, 1]))
    assert metric.compute()["precision"] == pytest.approx((2 / 3 + 0) / 2)


def test_indices_have_no_top_five_and_mixing_has_none_either(batch):
    logits, target = batch
    metric = Classification(COUNTS)
    metric.update(logits.argmax(1), target)
    assert metric.compute()["top5"] is None
    metric.update(logits, target)
    assert metric.compute()["top5"] is None


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
@pytest.mark.parametrize("indices", [False, True])
@pytest.mark.parametrize("metric_class", [ShotAccuracy, Classification])
def test_ignored_samples_are_as_if_they_were_not_there(metric_class, indices, dtype, batch):
    logits, target = batch[0].clone(), batch[1].clone()
    target[::3] = 255
    logits[0], kept = math.nan, target != 255
    prediction = torch.where(kept, logits.argmax(1), -1) if indices else logits
    some, rest = metric_class(COUNTS), metric_class(COUNTS)
    some.update(prediction, target.to(dtype), ignore_index=255)
    rest.update(prediction[kept], target[kept])
    found, expected = some.compute(), rest.compute()
    if metric_class is Classification:
        assert torch.equal(found.pop("confusion"), expected.pop("confusion"))
    assert found == expected


def test_one_class_and_thousands():
    single = Classification([5])
    single.update(torch.zeros(3, 1), torch.zeros(3, dtype=torch.int64))
    assert single.compute()["top1"] == single.compute()["top5"] == 1
    target = torch.arange(3000)
    many = Classification(torch.ones(3000))
    for part in target.split(500):
        many.update(part, part)
    assert many.compute()["few"] == 1
    assert torch.equal(many.compute()["confusion"].to_dense(), torch.eye(3000, dtype=torch.int64))


@given(data=st.data(), classes=st.integers(1, 7), merge=st.integers(0, 40))
def test_pairs_that_occurred_tell_what_the_matrix_of_all_pairs_tells(data, classes, merge):
    label = st.integers(0, classes - 1)
    batches = data.draw(st.lists(st.lists(st.tuples(label, label), min_size=1, max_size=30), min_size=1, max_size=5))
    results = []
    for dense in (0, 100):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_confusion, "DENSE", dense)
            patch.setattr(_confusion, "_MERGE", merge)
            metric = Classification(range(classes))
            for batch in batches:
                predicted, target = torch.tensor(batch).T
                metric.update(predicted, target)
            results.append(metric.compute())
    sparse, dense = (result.pop("confusion") for result in results)
    assert sparse.is_sparse and torch.equal(sparse.to_dense(), dense)
    assert torch.equal(confusion_cells(sparse), confusion_cells(dense))
    assert results[0] == results[1]


def count_pairs(rank):
    metric = Classification([1] * 3000)
    if rank == 0:  # the other has nothing to count
        metric.update(torch.tensor([5, 5, 2999, 0]), torch.tensor([5, 5, 0, 2999]))
    both = Classification([1] * 3000)
    both.update(torch.tensor([rank, 7]), torch.tensor([1, 7]))
    return [confusion_cells(m.compute()["confusion"]).tolist() for m in (metric, both)]


def test_pairs_of_two_processes_are_added(run_two):
    first, second = run_two(count_pairs)
    assert first == second
    assert first == [[[0, 5, 2999], [2999, 5, 0], [1, 2, 1]], [[1, 1, 7], [0, 1, 7], [1, 1, 2]]]


def test_thousands_of_classes_take_no_matrix_of_all_pairs():
    classes = 400_000  # a matrix would take 1.3 TB
    metric = Classification(torch.ones(classes))
    metric.update(torch.tensor([1, 2]), torch.tensor([1, 3]))
    assert metric.compute()["top1"] == 0.5


def test_created_and_updated_in_any_grad_mode(batch):
    with torch.inference_mode():
        metric = Classification(COUNTS).to("cpu")
        metric.update(*batch)
    metric.update(batch[0].requires_grad_(), batch[1])
    assert int(metric.compute()["confusion"].sum()) == 600


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("metric_class", [Classification, ShotAccuracy])
def test_on_a_gpu(metric_class, batch):
    on_cpu, on_gpu = metric_class(COUNTS), metric_class(COUNTS)
    on_cpu.update(*batch)
    on_gpu.update(*(t.cuda() for t in batch))
    ours, theirs = on_gpu.compute(), on_cpu.compute()
    assert torch.equal(ours.pop("confusion", torch.empty(0)), theirs.pop("confusion", torch.empty(0)))
    assert ours == theirs


@pytest.mark.parametrize("metric_class", [Classification, ShotAccuracy])
def test_nothing_counted_is_told(metric_class):
    with pytest.raises(LongtailError, match="no prediction was counted"):
        metric_class(COUNTS).compute()


@pytest.mark.parametrize(
    ("prediction", "target", "message"),
    [
        (torch.zeros(1, 7), torch.tensor([7]), "label 7 is out of range"),
        (torch.zeros(1, 7), torch.tensor([-1]), "label -1 is out of range"),
        (torch.tensor([7]), torch.tensor([0]), "label 7 is out of range"),
        (torch.full((1, 7), math.nan), torch.tensor([0]), "NaN logits"),
        (torch.zeros(1, 6), torch.tensor([0]), r"\[B, 7\]"),
    ],
)
def test_a_bad_batch_is_one_clear_line_and_not_counted(prediction, target, message):
    metric = Classification(COUNTS)
    with pytest.raises(LongtailError, match=message):
        metric.update(prediction, target)
    with pytest.raises(LongtailError, match="no prediction was counted"):
        metric.compute()


def evaluate_a_shard(rank: int) -> list:
    generator = torch.Generator().manual_seed(1)
    logits, target = torch.randn(75, 7, generator=generator), torch.randint(7, (75,), generator=generator)
    mine = slice(rank, None, None if rank is None else 2)
    results = []
    for metric in (Classification(COUNTS), ShotAccuracy(COUNTS)):
        metric.update(logits[mine], target[mine])
        metric.compute()
        result = metric.compute()  # computing again counts nothing twice
        results.append({k: v.tolist() if isinstance(v, torch.Tensor) else v for k, v in result.items()})
    return results


def test_two_processes_report_what_one_does(run_two):
    assert run_two(evaluate_a_shard) == [evaluate_a_shard(None)] * 2
