"""An option either acts or is refused: which data set and which task understand it, and files from before it was so."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from longtail import LongtailError
from longtail.cli import main
from longtail.data.catalogue import CATALOGUE
from longtail.tasks import task_class
from longtail.tasks.options import check_options
from longtail.training.config import DataOptions, RunConfig
from longtail.training.configfile import read_config
from longtail.training.folder import RunFolder
from longtail.training.recipes import resolve

GIVEN: dict[str, Any] = {
    "imbalance": 10.0,
    "imbalance_kind": "exp",
    "protocol": "paper",
    "data_seed": 1,
    "val_fraction": 0.2,
    "select_fraction": 0.0,
    "frames": 10,
    "broken": "refuse",
    "frame_cache": "kept",
    "group_by": r"rec\d+",
    "bit_depth": 12,
    "augment": ("no-flip",),
    "download": True,
    "columns": ("file=id",),
}
"""A value of each option: where there was a default once, that one."""


def kind_of(name: str) -> str:
    return CATALOGUE[name].task


def config(name: str, **options: Any) -> RunConfig:
    return RunConfig(data=f"{name}:somewhere", task=kind_of(name), **options)  # type: ignore[arg-type]


def test_every_option_is_understood_by_a_task_and_every_data_set_says_which() -> None:
    fields = {field.name for field in dataclasses.fields(DataOptions)}
    assert fields == set(GIVEN) == task_class("classify").options | task_class("detect").options
    for name, entry in CATALOGUE.items():
        assert name == entry.name and entry.options <= task_class(kind_of(name)).options
    for kind in ("classify", "video", "vectors", "detect", "segment"):
        assert kind in task_class(kind).kinds


@pytest.mark.parametrize("option", GIVEN)
@pytest.mark.parametrize("name", CATALOGUE)
def test_an_option_is_kept_or_refused_by_its_name(name: str, option: str) -> None:
    given: dict[str, Any] = {option: GIVEN[option]} | ({"imbalance": 10.0} if option == "imbalance_kind" else {})
    if option in CATALOGUE[name].options:
        assert getattr(resolve(config(name, **given)), option) == GIVEN[option]
        check_options(DataOptions(**given), name, kind_of(name))
        return
    given = {option: GIVEN[option]}
    with pytest.raises(LongtailError, match=f"^--{option.replace('_', '-')} is for .*, not for {name}: leave it out$"):
        resolve(config(name, **given))
    with pytest.raises(LongtailError, match=f"not for {name}"):
        check_options(DataOptions(**given), name, kind_of(name))


def test_a_law_without_an_imbalance_is_refused_where_nothing_is_thinned() -> None:
    with pytest.raises(LongtailError, match="--imbalance-kind is the law of --imbalance"):
        resolve(config("folder", imbalance_kind="step"))
    assert resolve(config("cifar10", imbalance_kind="step")).imbalance_kind == "step"


@pytest.mark.parametrize("command", ["train", "compare", "inspect"])
def test_every_command_refuses_and_writes_nothing(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [command, "shapes-lt", "--imbalance", "10", "--out", str(tmp_path / "out")]
    assert main(words if command == "inspect" else [*words, "--task", "detect"]) == 2
    assert capsys.readouterr().err.startswith("error: --imbalance is for ")
    assert not (tmp_path / "out").exists()


def test_reproduce_fetches_what_can_be_fetched_and_refuses_where_nothing_can(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["reproduce", "table5", "--columns", "shapes-lt", "--scale", "smoke", "--download", "--out", str(tmp_path)]
    assert main(words) == 2
    assert capsys.readouterr().err == "error: --download: nothing of table5 can be fetched: leave it out\n"


def test_no_clipping_can_be_asked_for_and_is_not_the_default_of_boxes() -> None:
    assert resolve(config("coco")).clip_grad_norm == 35 and resolve(config("digits")).clip_grad_norm == 0
    assert resolve(config("coco", clip_grad_norm=0.0)).clip_grad_norm == 0


@pytest.mark.parametrize("name", CATALOGUE)
def test_files_from_before_options_could_be_unset_are_the_same_run(name: str, tmp_path: Path) -> None:
    now = resolve(config(name))
    old = now.to_dict() | {"imbalance_kind": "exp", "select_fraction": 0.0, "broken": "refuse"}
    (tmp_path / "config.json").write_text(json.dumps({"longtail": "0", "config": old}))
    assert RunFolder(tmp_path).config() == now == resolve(read_config(tmp_path))
    RunFolder(tmp_path).check(now)
