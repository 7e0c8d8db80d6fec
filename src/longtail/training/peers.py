"""The processes of one run hear at once when one of them ends, and why.

On its own a collective waits for its timeout (10 minutes with NCCL, 30 with gloo) or fails with an error about sockets.
A connection of each process with the first one tells of an end at once, however it came, and waits for nobody.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
import torch.distributed as dist

from longtail.errors import LongtailError, Terminated, message_of

__all__ = ["Peers", "check_shared", "meet"]

GRACE = 20.0
"""Seconds that a process has to end by itself once another has ended: then it is ended, wherever it waits."""
_SEEN = 10.0
"""Seconds that a file of process 0 may take to be seen on other machines."""
_REASON = 5.0
"""Seconds that an error waits for word of a process whose end may be behind it: a collective may hear of it first."""
_MEETING = 20.0
"""Seconds for the processes to connect; one that cannot be reached is not watched."""


def _end(line: str) -> None:
    sys.stderr.write(f"error: {line}\n")
    sys.stderr.flush()
    os._exit(2)  # the main thread may wait in a collective for ever; whatever is written is whole or absent


class Peers:
    """This process's connections with the others, for as long as a run goes on; a context manager around it.

    An error that follows from another's end becomes a `LongtailError` that says which process it was.

    Args:
        rank: This process.
        world: The number of processes.
        links: A socket for each process that is heard directly, by its number: process 0 hears all, the others hear it.
        grace: See `GRACE`.
        end: Called with the line if this process does not end by itself.
    """

    def __init__(
        self,
        rank: int,
        world: int,
        links: Mapping[int, socket.socket],
        *,
        grace: float | None = None,
        end: Callable[[str], None] = _end,
    ) -> None:
        self.rank, self.world, self.links = rank, world, dict(links)
        self.grace, self.end = GRACE if grace is None else grace, end
        self._lost: tuple[int, str] | None = None
        self._known, self._left = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        if self.links:
            self._wake, self._woken = socket.socketpair()
            self._thread.start()

    @property
    def line(self) -> str | None:
        """What to say of the process that ended first; None: all are there."""
        if self._lost is None:
            return None
        rank, reason = self._lost
        told = reason or "it was killed, ran out of memory, or its machine is gone, see its own output"
        return f"process {rank} of {self.world} has ended ({told}): the same command continues"

    def _watch(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            heard = dict.fromkeys(self.links, b"")
            for rank, link in self.links.items():
                selector.register(link, selectors.EVENT_READ, rank)
            while heard and self._lost is None:
                for key, _ in selector.select():
                    if key.data is None:
                        return
                    self._hear(key.data, heard, selector)
        if self._lost is not None and not self._left.wait(self.grace):
            self.end(self.line or "")

    def _hear(self, rank: int, heard: dict[int, bytes], selector: selectors.BaseSelector) -> None:
        link = self.links[rank]
        try:
            new = link.recv(1 << 16)
        except OSError:
            new = b""
        heard[rank] += new
        if new and b"\n" not in new:
            return
        selector.unregister(link)
        said = heard.pop(rank).partition(b"\n")[0]
        if said == b"bye" or self._lost is not None:
            return
        self._lost = (rank, "")
        with contextlib.suppress(ValueError, TypeError):
            first, reason = json.loads(said)
            self._lost = (int(first), str(reason))
        self._known.set()
        self._say(json.dumps(self._lost), but=rank)

    def _say(self, text: str, *, but: int | None = None) -> None:
        for rank, link in self.links.items():
            if rank != but:
                with contextlib.suppress(OSError):
                    link.sendall(text.encode() + b"\n")

    def __enter__(self) -> Peers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, trace
        line = None
        if isinstance(error, RuntimeError) and self.links and self._known.wait(_REASON):
            line = self.line
        if error is None or isinstance(error, Terminated):
            self.leave()
        else:
            reason = message_of(error) if isinstance(error, Exception) else "interrupted"
            self.leave(reason or f"{type(error).__name__}: {' '.join(str(error).split())[:500]}")
        if line is not None:
            raise LongtailError(line) from error

    def leave(self, reason: str | None = None) -> None:
        """Tell the others that this process goes, and why if it should have stayed."""
        self._left.set()
        if not self.links:
            return
        self._say("bye" if reason is None else json.dumps(self._lost or (self.rank, reason)))
        self._wake.send(b"x")
        self._thread.join()
        for link in (*self.links.values(), self._wake, self._woken):
            link.close()
        self.links = {}


def meet(device: torch.device) -> Peers:
    """Connect all processes of the group with the first one; every process must call it.

    Args:
        device: Where the group takes tensors.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return Peers(0, 1, {})
    rank, world = dist.get_rank(), dist.get_world_size()
    host = os.environ.get("MASTER_ADDR", "127.0.0.1")
    server = _open() if rank == 0 else None
    told = [None if server is None else (server.getsockname()[1], secrets.token_hex(16))]
    dist.broadcast_object_list(told, 0, device=device)
    assert told[0] is not None
    port, word = told[0]
    if server is not None:
        return Peers(rank, world, _accept(server, word, world))
    with contextlib.suppress(OSError):
        link = socket.create_connection((host, port), timeout=_MEETING)
        link.sendall(f"{word} {rank:7d}".encode())
        link.settimeout(None)
        return Peers(rank, world, {0: _kept_alive(link)})
    return Peers(rank, world, {})


def _open() -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))


def _accept(server: socket.socket, word: str, world: int) -> dict[int, socket.socket]:
    links: dict[int, socket.socket] = {}
    server.settimeout(_MEETING)
    with server, contextlib.suppress(OSError):
        while len(links) < world - 1:
            link, _ = server.accept()
            link.settimeout(_MEETING)
            said = link.recv(len(word) + 8, socket.MSG_WAITALL).decode(errors="replace")
            if said[: len(word)] != word:  # somebody else
                link.close()
                continue
            link.settimeout(None)
            links[int(said[len(word) :])] = _kept_alive(link)
    return links


def _kept_alive(link: socket.socket) -> socket.socket:
    """Let the system look every few seconds whether the other machine is still there."""
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            link.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return link


def check_shared(folder: Path) -> None:
    """Let process 0 leave a mark in the run folder, and all others look for it; every process must call this.

    Raises:
        LongtailError: on all processes, if one does not see it: on another machine, or in another working directory.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return
    name: list[Any] = [f".{secrets.token_hex(8)}.tmp"]
    if dist.get_rank() == 0:
        (folder / name[0]).write_bytes(b"")
    try:
        dist.broadcast_object_list(name, 0)
        mark, seen = folder / name[0], True
        until = time.monotonic() + _SEEN
        while not (seen := mark.exists()) and time.monotonic() < until:
            time.sleep(0.1)
        places: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(places, None if seen else f"{socket.gethostname()}:{folder.absolute()}")
    finally:
        if dist.get_rank() == 0:
            (folder / name[0]).unlink(missing_ok=True)
    for rank, place in enumerate(places):
        if place is not None:
            raise LongtailError(
                f"process {rank} finds no folder of this run at {place}: give --out as a whole path, on a file system "
                "that all machines share"
            )
