"""What the cards show is run: code on small random data, commands through the command line's own parser."""

from __future__ import annotations

import copy
import dataclasses
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from longtail import cli
from longtail.methods import ClassStats, get_method, list_methods
from longtail.methods._card import Section, for_page, for_terminal, links, measured, plain, sections
from longtail.methods._lines import commands, in_a_detector, in_a_loop
from longtail.samplers.base import EpochSampler
from modules import module_at

CLASSES = 4
COUNTS = [40, 12, 5, 3]


class Net(nn.Module):
    """A network with all that the lines reach for: BatchNorm, a last stage of maps and a classifier ``fc``."""

    def __init__(self) -> None:
        super().__init__()
        self.layer4 = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layer4(x).mean((2, 3)))


def given() -> dict[str, Any]:
    """The names that the lines take for granted."""
    torch.manual_seed(0)
    labels = torch.arange(CLASSES).repeat_interleave(torch.tensor(COUNTS))
    train = TensorDataset(torch.randn(len(labels), 3, 6, 6) + labels[:, None, None, None], labels)
    target = torch.arange(CLASSES).repeat(8)
    held_out = TensorDataset(torch.randn(len(target), 3, 6, 6) + target[:, None, None, None], target)
    model = Net()
    return {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "epochs": 5,
        "train": train,
        "loader": DataLoader(train, 16, shuffle=True),
        "held_out_loader": DataLoader(held_out, 16, shuffle=True),
        "class_counts": COUNTS,
        "labels": labels,
    }


def of(code: Callable[..., str]) -> list[str]:
    return [name for name in list_methods() if code(get_method(name))]


@pytest.mark.parametrize("name", of(in_a_loop))
def test_the_lines_for_a_loop_of_ones_own_train_a_model(name: str) -> None:
    names = given()
    before = copy.deepcopy(names["model"]).state_dict()
    exec(compile(in_a_loop(get_method(name)), name, "exec"), names)
    after = names["model"].eval().state_dict()
    assert any(not torch.equal(value, after[key]) for key, value in before.items() if key in after)
    assert all(value.isfinite().all() for value in after.values())
    logits = names["model"](names["train"].tensors[0])
    assert logits.shape == (len(names["labels"]), CLASSES)
    assert logits.isfinite().all()
    difficulty = names.get("difficulty") or getattr(names.get("running"), "difficulty", None)
    first = name == "cls"  # what the model can do before it is trained is measured, too
    assert difficulty is None or difficulty.steps == names["epochs"] + first


@pytest.mark.parametrize("name", [n for n in of(in_a_loop) if get_method(n).in_code])
def test_what_the_lines_build_is_what_the_method_builds(name: str) -> None:
    names = given() | {"epochs": 3}
    method = get_method(name)
    exec(compile(in_a_loop(method), name, "exec"), names)
    parts = method.parts(ClassStats(class_counts=COUNTS, labels=names["labels"], epochs=3))
    if (sampler := names.get("sampler")) is None:
        criterion = names["criterion"]
        if parts.difficulty is not None:
            assert names["difficulty"].options == parts.difficulty.options
            parts.difficulty.load_state_dict(names["difficulty"].state_dict())
        elif isinstance(parts.criterion, nn.Module):
            parts.criterion.load_state_dict(criterion.state_dict())
        logits, target = torch.randn(64, CLASSES), torch.arange(64) % CLASSES
        losses = []
        for loss in (criterion, parts.criterion):
            torch.manual_seed(1)
            losses.append(loss(logits, target))
        assert torch.equal(*losses)
    else:
        if parts.difficulty is not None:
            parts.difficulty.load_state_dict(names["difficulty"].state_dict())
        orders = []
        for each in (sampler, parts.sampler):
            assert isinstance(each, EpochSampler)
            each.set_epoch(1)
            orders.append(list(each))
        assert orders[0] == orders[1]


@pytest.mark.parametrize("name", of(in_a_detector))
def test_the_lines_for_a_detector_train_it(name: str) -> None:
    detectors = module_at(Path(__file__).parents[1] / "detection" / "detectors.py")
    images, targets = detectors.batch(classes=CLASSES)
    pairs = list(zip(images, targets, strict=True))
    model = detectors.tiny_detector(CLASSES + 1, masks="detect" not in get_method(name).tasks)
    names: dict[str, Any] = {
        "model": model,
        "epochs": 2,
        "train": pairs,
        "loader": [(images, targets)],
        "held_out_loader": [(images, targets)],
        "class_counts": COUNTS,
        "labels_per_image": [(target["labels"] - 1).tolist() for target in targets],
    }
    exec(compile(in_a_detector(get_method(name)), name, "exec"), names)
    model.train()
    optimizer = names.get("optimizer") or torch.optim.SGD(model.parameters(), lr=0.01)
    before = copy.deepcopy(model.state_dict())
    for batch_images, batch_targets in list(names["loader"])[:1]:
        losses = model(list(batch_images), list(batch_targets))
        assert all(loss.isfinite() for loss in losses.values())
        sum(losses.values()).backward()
        optimizer.step()
    assert any(not torch.equal(value, before[key]) for key, value in model.state_dict().items())
    if names["parts"].difficulty is not None:
        assert names["parts"].difficulty.steps == 2


@pytest.mark.parametrize("name", list_methods())
def test_the_commands_are_understood(name: str) -> None:
    lines = commands(get_method(name))
    assert any(f"--method {name} " in line for line in lines)
    for line in lines:
        cli._parse(shlex.split(line)[1:])  # exits where it is no command line


def test_a_command_of_a_card_runs(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (line,) = [line for line in commands(get_method("cb")) if "--method-kwargs" in line]
    words = shlex.split(line.replace("folder:photos", "digits"))[1:]
    assert cli.main([*words, "--epochs", "1", "--device", "cpu"]) == 0
    assert (tmp_path / "runs" / "cb" / "metrics.json").exists()


@pytest.mark.parametrize("name", list_methods())
def test_a_card_says_everything_in_order_and_in_plain_letters(name: str) -> None:
    method = get_method(name)
    titles = [section.title for section in sections(method)]
    assert titles[:3] == ["", "Formula", "When to use"]
    assert titles[-2:] == ["What was measured", "Reference"]
    assert titles.index("On the command line") < titles.index("Hyperparameters")
    assert "In a loop of your own" in titles or "In a detector of torchvision" in titles
    assert links(method)
    text = for_terminal(method)
    for mark in ("\\", ":math:", "$", "{options}"):
        assert mark not in text, mark
    for opening, closing in ("()", "[]"):
        formula = plain_formulas(method)
        assert formula.count(opening) == formula.count(closing)
    page = for_page(method)
    assert ":math:" not in page
    assert all(page.count(fence) % 2 == 0 for fence in ("```", "$$"))


def plain_formulas(method: Any) -> str:
    (section,) = [section for section in sections(method) if section.title == "Formula"]
    return " ".join(plain(formula) for formula in re.findall(r":math:`([^`]+)`", section.body))


@pytest.mark.parametrize("name", list_methods())
def test_every_hyperparameter_stands_once_and_the_main_ones_first(name: str) -> None:
    method = get_method(name)
    told = [heading for section in sections(method) if section.kind == "list" for heading in entries(section)]
    assert sorted(set(told)) == sorted(told)
    assert told[: len(method.main)] == list(method.main)
    fields = {field.name for field in dataclasses.fields(method)}
    assert set(told) <= fields
    assert fields - set(told) <= {"form", "strength"}  # these come with reduction


def entries(section: Section) -> Iterator[str]:
    return (match[1] for match in re.finditer(r"^([a-z]\w*): ", section.body, re.MULTILINE))


def test_a_card_shows_what_was_measured_and_says_where_nothing_was() -> None:
    (digits,) = [row for row in measured("cdb-w") if row[0].startswith("digits of scikit-learn")]
    assert digits[1:3] == ("error", "5")
    assert float(digits[5]) == pytest.approx(float(digits[3].split()[0]) - float(digits[4].split()[0]), abs=0.011)
    assert " | ".join(digits) in for_page(get_method("cdb-w"))
    assert not measured("simcal")
    assert "Not measured" in for_terminal(get_method("simcal"))


@pytest.mark.parametrize(
    ("latex", "text"),
    [
        (r"w_c = d_c^\tau", "w_c = d_c^tau"),
        (r"\frac{1 - \beta}{1 - \beta^{n_c}}", "(1 - beta) / (1 - beta^n_c)"),
        (r"-\log \frac{e^{z_y}}{\sum_k e^{z_k}}", "-log(e^z_y / (sum_k e^z_k))"),
        (r"\max(1, \sqrt{t / f_c})", "max(1, sqrt(t / f_c))"),
        (r"-\lVert f - \mu_c \rVert^2", "-||f - mu_c||^2"),
        (r"\max(\langle v, \nabla l_i \rangle, 0)", "max(<v, grad l_i>, 0)"),
        (r"W_c \leftarrow W_c,\quad k \ne y", "W_c <- W_c, k != y"),
    ],
)
def test_a_formula_in_plain_letters(latex: str, text: str) -> None:
    assert plain(latex) == text
