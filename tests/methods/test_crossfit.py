"""What is measured and chosen before training, out of fold."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

from longtail.config import RunConfig
from longtail.errors import LongtailError
from longtail.evenness import geometric_mean
from longtail.features import fit_linear, folds_of, out_of_fold
from longtail.losses import LogitAdjustedLoss
from longtail.methods import ClassStats, get_method
from longtail.methods._crossfit import EXPONENTS, climbed
from longtail.training.files import json_text
from longtail.training.jobs import comparison_jobs


def clouds(counts, *, spread, d=8, seed=0):
    """Clouds of points with these numbers a class; ``spread``: of each class, so that some are hard."""
    draw = torch.Generator().manual_seed(seed)
    centres = 2 * torch.randn(len(counts), d, generator=draw)
    y = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    x = centres[y] + torch.tensor(spread)[y, None] * torch.randn(len(y), d, generator=draw)
    return (x - x.mean(0)) / x.std(0) / d**0.5, y


def stats_of(x, y, counts, asked=None):
    def answers(criterion):
        if asked is not None:
            asked.append(criterion)
        return out_of_fold(x, y, criterion, num_classes=len(counts), folds=folds_of(y), l2=1e-4)

    return ClassStats(class_counts=counts, labels=y, out_of_fold=answers)


COUNTS, SPREAD = [60, 60, 60, 12], [1.0, 3.0, 1.0, 1.0]


@pytest.mark.parametrize("base", ["ce", "balanced-softmax", "focal:gamma=2"])
def test_the_difficulty_is_that_of_the_out_of_fold_answers_of_the_base(base):
    x, y = clouds(COUNTS, spread=SPREAD)
    asked = []
    method = get_method("cdb-w", preset="cross-fit", base=base)
    assert not method.needs_held_out
    parts = method.parts(stats_of(x, y, COUNTS, asked))
    assert len(asked) == 1 and asked[0] is not parts.criterion
    criterion = get_method(base.partition(":")[0]).parts(ClassStats(class_counts=COUNTS)).criterion
    if "gamma" not in base:
        logits = out_of_fold(x, y, criterion, num_classes=4, folds=folds_of(y), l2=1e-4)
        own = logits.softmax(1).gather(1, y[:, None]).flatten()
        soft = torch.stack([own[y == c].mean() for c in range(4)])
        torch.testing.assert_close(parts.difficulty.performance, soft, atol=1e-4, rtol=0)
    weight = (1 - parts.difficulty.performance).clamp(min=0.05)
    weight = weight / (weight * torch.tensor(COUNTS)).sum() * sum(COUNTS)
    torch.testing.assert_close(parts.difficulty.weight, weight, atol=1e-4, rtol=1e-4)
    assert parts.difficulty.weight[1] > 1.5 * parts.difficulty.weight[[0, 2]].max()  # as frequent, and spread out
    assert "cross-fitting" in parts.notes[0] and "\n" not in parts.notes[0]


def test_the_hard_class_is_drawn_more_often_and_asks_for_the_larger_margin():
    x, y = clouds(COUNTS, spread=SPREAD)
    stats = stats_of(x, y, COUNTS)
    sampler = get_method("cdb-s", preset="cross-fit").parts(stats).sampler
    drawn = torch.bincount(y[torch.tensor(list(sampler))], minlength=4)
    assert drawn[1] > 1.5 * drawn[[0, 2]].max()
    zeros = torch.zeros(4, 4)
    target = torch.arange(4)
    plain = get_method("balanced-softmax").parts(stats).criterion
    for aim, strength in (("mean", 0.5), ("floor", 1.0)):
        parts = get_method("cdb-margin", source="cross-fit", aim=aim).parts(stats)
        d = parts.difficulty.difficulty
        shifted = zeros - strength * (d / d.max()).log()
        torch.testing.assert_close(parts.criterion(zeros, target), plain(shifted, target))


@pytest.mark.parametrize("post_hoc", [False, True])
@pytest.mark.parametrize("aim", ["mean", "floor"])
def test_the_exponent_is_the_best_out_of_fold_of_those_tried(post_hoc, aim):
    counts = [120, 40, 14, 6]
    x, y = clouds(counts, spread=[2.5] * 4, seed=2)
    stats, prior = stats_of(x, y, counts), (torch.tensor(counts) / sum(counts)).log()
    parts = get_method("logit-adjust", tau="cv", aim=aim, post_hoc=post_hoc).parts(stats)

    @functools.cache
    def score(tau):
        if post_hoc:
            logits = stats.out_of_fold(nn.CrossEntropyLoss()) - tau * prior
        else:
            logits = stats.out_of_fold(LogitAdjustedLoss(counts, tau=tau))
        accuracy = [float((logits[y == c].argmax(1) == c).double().mean()) for c in range(4)]
        return sum(accuracy) / 4 if aim == "mean" else geometric_mean(accuracy)

    chosen = parts.found["tau"]
    assert chosen in EXPONENTS and f"tau {chosen:g} chosen out of fold" in parts.notes[0]
    place = EXPONENTS.index(chosen)
    rivals = EXPONENTS if post_hoc else EXPONENTS[max(place - 1, 0) : place + 2]
    assert score(chosen) == pytest.approx(max(map(score, rivals)))
    if post_hoc:
        head = parts.head(nn.Linear(8, 4)).eval()
        torch.testing.assert_close(head.shift, -chosen * prior)
    else:
        logits = torch.randn(5, 4)
        wanted = LogitAdjustedLoss(counts, tau=chosen)(logits, torch.tensor([0, 1, 2, 3, 3]))
        torch.testing.assert_close(parts.criterion(logits, torch.tensor([0, 1, 2, 3, 3])), wanted)
        softmax = get_method("balanced-softmax", tau="cv", aim=aim).parts(stats)
        assert softmax.found == parts.found
    assert json_text(dict(parts.found))


def test_the_climb_finds_the_top_of_every_single_hill_and_asks_no_more_than_it_must():
    for top in EXPONENTS:
        best, scores = climbed(lambda tau, top=top: -abs(EXPONENTS.index(tau) - EXPONENTS.index(top)))
        assert best == top and len(scores) <= len(EXPONENTS)
    assert climbed(lambda tau: 0.5) == (1.0, {1.0: 0.5, 1.15: 0.5, 0.75: 0.5})


def test_balanced_classes_keep_the_exponent_1():
    x, y = clouds([30] * 4, spread=[2.0] * 4)
    for post_hoc in (False, True):
        assert get_method("logit-adjust", tau="cv", post_hoc=post_hoc).parts(stats_of(x, y, [30] * 4)).found == {
            "tau": 1
        }


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("cdb-w", {"preset": "cross-fit"}),
        ("cdb-s", {"preset": "cross-fit"}),
        ("cdb-margin", {"source": "cross-fit"}),
        ("balanced-softmax", {"tau": "cv"}),
        ("logit-adjust", {"tau": "cv", "post_hoc": True}),
        ("crt", {"stage1": "balanced-softmax:tau=cv"}),
    ],
)
def test_without_features_one_line_says_what_gives_them_and_a_saved_model_needs_none(name, kwargs):
    method = get_method(name, **kwargs)
    with pytest.raises(LongtailError, match=r"--tune head, or features:FILE") as told:
        method.parts(ClassStats(class_counts=[5, 4]))
    assert "\n" not in str(told.value)
    bare = method.parts(ClassStats(class_counts=[5, 4], bare=True))
    assert not bare.found and not bare.notes


def test_a_base_with_a_classifier_of_its_own_is_refused():
    x, y = clouds(COUNTS, spread=SPREAD)
    method = get_method("cdb-w", preset="cross-fit", base="ldam-drw:defer=0")
    with pytest.raises(LongtailError, match="ldam-drw has a classifier of its own"):
        method.parts(stats_of(x, y, COUNTS))


def test_a_class_that_every_fold_answers_keeps_the_floor():
    x, y = clouds([40, 40], spread=[0.01, 0.01])
    parts = get_method("cdb-w", preset="cross-fit", measure="recall").parts(stats_of(x, y, [40, 40]))
    torch.testing.assert_close(parts.difficulty.difficulty, torch.tensor([0.05, 0.05]))
    torch.testing.assert_close(parts.difficulty.weight, torch.ones(2))


def test_a_cross_fitted_head_does_what_its_weights_say():
    """Fitted to the end, the weighted loss moves the answers towards the hard class."""
    counts = [60] * 4
    x, y = clouds(counts, spread=SPREAD)
    parts = get_method("cdb-w", preset="cross-fit").parts(stats_of(x, y, counts))
    answers = []
    for criterion in (nn.CrossEntropyLoss(), parts.criterion):
        W, b = fit_linear(x, y, criterion, num_classes=4, l2=1e-3)
        answers.append(torch.bincount((x @ W.T + b).argmax(1), minlength=4))
    assert answers[1][1] > answers[0][1]


def test_aim_goes_to_every_method_of_a_comparison_that_knows_it(tmp_path):
    config = RunConfig(data="digits")
    methods = ["ce", "balanced-softmax", "balanced-softmax:tau=cv", "cdb-margin", "cdb-margin:strength=1"]
    jobs = comparison_jobs(config, methods, 1, tmp_path, aim="floor")
    aimed = {job.folder.parent.name: "aim=floor" in job.config.method_kwargs for job in jobs}
    assert aimed == {
        "ce": False,
        "balanced-softmax": False,
        "balanced-softmax-tau=cv": True,
        "cdb-margin": True,
        "cdb-margin-strength=1": False,
    }
    with pytest.raises(LongtailError, match="--aim floor: none of ce, balanced-softmax does anything with it"):
        comparison_jobs(config, ["ce", "balanced-softmax"], 1, tmp_path, aim="floor")
