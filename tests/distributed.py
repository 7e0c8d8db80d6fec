"""Two real processes with a gloo group, started once and used by every test that needs them.

A test takes the fixture ``run_two`` and gives it a function of its own module, which must be at module level::

    def job(rank, values):
        ...
        return result

    def test_it(run_two):
        first, second = run_two(job, values)

``torch.distributed`` is initialised in both, with gloo and two processes.
"""

from __future__ import annotations

import inspect
import multiprocessing as mp
import os
import pickle
import tempfile
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from modules import module_at

__all__ = ["TwoProcesses"]

_SECONDS = 1200
"""Patience with two processes that hang; a loaded machine may be slow."""


class TwoProcesses:
    """A pool of exactly two processes; a job that fails ends them, and the next one starts a new pair."""

    def __init__(self) -> None:
        self._workers: list[tuple[Any, Connection]] = []
        self._store = ""

    def run(self, fn: Callable[..., Any], *args: Any) -> list[Any]:
        """``[fn(0, *args), fn(1, *args)]``, each in its own process."""
        if not self._workers:
            self._start()
        job = pickle.dumps((inspect.getfile(fn), fn.__name__, args))
        try:
            for _, connection in self._workers:
                connection.send_bytes(job)
            results = []
            for rank, (_, connection) in enumerate(self._workers):
                if not connection.poll(_SECONDS):
                    raise RuntimeError(f"process {rank} did not answer within {_SECONDS} s")
                error, result = pickle.loads(connection.recv_bytes())
                if error:
                    raise RuntimeError(f"process {rank} failed:\n{error}")
                results.append(result)
            return results
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End both processes."""
        for process, connection in self._workers:
            connection.close()
            process.terminate()
            process.join()
        self._workers = []
        if self._store and os.path.exists(self._store):
            os.remove(self._store)

    def _start(self) -> None:
        context = mp.get_context("spawn")
        handle, self._store = tempfile.mkstemp(prefix="longtail-gloo-")
        os.close(handle)
        os.remove(self._store)
        before = os.environ.get("OMP_NUM_THREADS")
        os.environ["OMP_NUM_THREADS"] = "1"
        try:
            for rank in range(2):
                ours, theirs = context.Pipe()
                process = context.Process(target=_work, args=(rank, self._store, theirs), daemon=True)
                process.start()
                theirs.close()
                self._workers.append((process, ours))
        finally:
            os.environ.pop("OMP_NUM_THREADS") if before is None else os.environ.update(OMP_NUM_THREADS=before)


def _work(rank: int, store: str, connection: Connection) -> None:
    import datetime

    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    limit = datetime.timedelta(seconds=_SECONDS / 2)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2, timeout=limit)
    while True:
        try:
            path, name, args = pickle.loads(connection.recv_bytes())
        except EOFError:  # the tests have ended
            break
        try:
            answer = (None, getattr(module_at(path), name)(rank, *args))
        except BaseException:
            answer = (traceback.format_exc(), None)
        connection.send_bytes(pickle.dumps(answer))
    dist.destroy_process_group()
