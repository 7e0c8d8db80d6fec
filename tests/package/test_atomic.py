"""Files are put in place whole, with the user's permissions, and never through somebody else's link."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from longtail.atomic import atomic
from longtail.errors import LongtailError
from longtail.training.files import locked


def test_temporary_and_lock_files_are_not_written_through_links(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / ".file.tmp").symlink_to(victim)
    atomic(tmp_path / "file", lambda p: p.write_text("new"))
    assert (tmp_path / "file").read_text() == "new" and not (tmp_path / "file").is_symlink()
    (tmp_path / ".lock").symlink_to(victim)
    with pytest.raises(LongtailError, match=r"\.lock is a link: remove it"), locked(tmp_path):
        pass
    assert victim.read_text() == "precious"


def test_a_dangling_link_makes_no_file_elsewhere(tmp_path: Path) -> None:
    (tmp_path / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LongtailError, match="is a link"), locked(tmp_path):
        pass
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_are_those_of_the_umask(tmp_path: Path, mask: int) -> None:
    def private(path: Path) -> None:
        path.unlink()  # as writers do that put a private file of their own in place
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))

    before = os.umask(mask)
    try:
        atomic(tmp_path / "file", private)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~mask


def test_the_umask_of_the_process_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It belongs to all threads: one that makes a file at that moment would make it for everybody."""

    def forbidden(mask: int) -> int:
        raise AssertionError("umask")

    monkeypatch.setattr(os, "umask", forbidden)
    threads = [threading.Thread(target=atomic, args=(tmp_path / str(i), lambda p: p.write_text("x"))) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0", "1", "2", "3"]


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")

    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        atomic(tmp_path / "file", fail)
    assert [p.name for p in tmp_path.iterdir()] == ["file"] and (tmp_path / "file").read_text() == "old"
