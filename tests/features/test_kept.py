"""What is kept beside features is whole, whoever writes it at the same time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from longtail.features.kept import Kept


def test_two_that_keep_one_file_at_once_write_one_after_the_other(tmp_path: Path) -> None:
    together, both = threading.Barrier(2), []

    def write(path: Path) -> None:
        path.write_bytes(b"half")
        try:
            together.wait(0.5)  # the other one writes too
            both.append(path)
        except threading.BrokenBarrierError:
            pass
        path.write_bytes(b"half and half")

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: Kept(tmp_path, "key").file("x", write), range(2)))
    assert found == [tmp_path / "key-x"] * 2 and found[0].read_bytes() == b"half and half"
    assert not both


def test_where_nothing_can_be_written_a_value_is_found_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    kept = Kept(tmp_path / "file" / "kept", "key")
    assert kept.value("x", lambda: [1, 2]) == [1, 2] and kept.file("y", lambda path: path.write_text("")) is None
