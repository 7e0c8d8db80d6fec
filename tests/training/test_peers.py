"""A process that ends does not leave the others waiting: they end too, with one line that says which one and why."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest
import torch

from commands import Command
from longtail.errors import LongtailError, Terminated
from longtail.training.peers import Peers
from training.folders import DIGITS


def three(ended: list[str], grace: float = 600, killed: int | None = None) -> dict[int, Peers]:
    """Three processes in one, of which one is killed: 1 and 2 know 0 alone."""
    (a, b), (c, d) = socket.socketpair(), socket.socketpair()
    links = [{1: a, 2: c}, {0: b}, {0: d}]
    if killed is not None:
        for link in links[killed].values():
            link.close()
    alive = {rank: own for rank, own in enumerate(links) if rank != killed}
    return {rank: Peers(rank, 3, own, grace=grace, end=ended.append) for rank, own in alive.items()}


def leave_with(peer: Peers, error: BaseException) -> BaseException:
    with pytest.raises(type(error)) as caught, peer:
        raise error
    return caught.value


@pytest.mark.parametrize("first", range(3))
@pytest.mark.parametrize("error", [LongtailError("a.jpg is broken"), KeyboardInterrupt(), RuntimeError("oh\nno"), None])
def test_the_others_tell_who_ended_and_why(
    first: int, error: BaseException | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = three([], killed=first if error is None else None)
    if error is not None:
        with monkeypatch.context() as patched:
            patched.setattr("longtail.training.peers._REASON", 0.01)  # nobody ended before it
            leave_with(peers[first], error)
    told = {None: "was killed", "a.jpg is broken": "a.jpg is broken", "oh\nno": "RuntimeError: oh no"}
    for rank in {0, 1, 2} - {first}:
        with pytest.raises(LongtailError) as caught, peers[rank]:
            raise RuntimeError("Connection closed by peer")
        assert str(caught.value).startswith(f"process {first} of 3 has ended (")
        assert told.get(str(error) if error else None, "interrupted") in str(caught.value)


def test_one_that_waits_for_ever_is_ended() -> None:
    ended: list[str] = []
    peers = three(ended, grace=0.01)
    leave_with(peers[2], LongtailError("--lr"))
    for peer in (peers[0], peers[1]):
        peer._thread.join()
        peer.leave()
    assert ended == ["process 2 of 3 has ended (--lr): the same command continues"] * 2


@pytest.mark.parametrize("error", [None, Terminated("saved")])
def test_orderly_ends_are_no_loss_in_any_order(error: BaseException | None) -> None:
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2)):
        ended: list[str] = []
        peers = three(ended, grace=0.01)
        for rank in order:
            if error is None:
                with peers[rank]:
                    pass
            else:
                leave_with(peers[rank], error)
        assert not ended and all(peer.line is None for peer in peers.values())


def test_an_error_of_its_own_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="shapes"), Peers(0, 1, {}):
        raise RuntimeError("shapes do not fit")


def pair(words: list[object], **options: object) -> list[Command]:
    """The same command in two processes that nobody watches over; ``options`` are those of the second."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [place | {"RANK": str(r), "LOCAL_RANK": str(r)} for r in range(2)]
    return [
        Command(words, environment=own, **(options if rank == 1 else {}))  # type: ignore[arg-type]
        for rank, own in enumerate(ranks)
    ]


def test_a_dead_process_ends_the_other_with_one_line(tmp_path: Path) -> None:
    words = [*DIGITS, "--method", "ce", "--epochs", "9999", "--out", tmp_path / "run"]
    first, second = pair(words)
    while not (tmp_path / "run" / "history.csv").exists():  # until it trains
        assert first.running and second.running, first.errors + second.errors
        second.process.join(0.1)
    second.kill()
    assert first.wait() == 2
    (line,) = first.errors
    assert line.startswith("error: process 1 of 2 has ended (it was killed")


def test_sigterm_ends_both_and_they_continue(tmp_path: Path) -> None:
    words = [*DIGITS, "--method", "ce", "--epochs", "9999", "--out", tmp_path / "run"]
    first, second = pair(words)
    while not (tmp_path / "run" / "history.csv").exists():
        assert first.running and second.running, first.errors + second.errors
        second.process.join(0.1)
    assert second.process.pid is not None
    os.kill(second.process.pid, signal.SIGTERM)  # the second alone
    assert (first.wait(), second.wait()) == (143, 143)
    (line,) = first.errors
    assert line.startswith("error: asked to end (SIGTERM): saved after ") and second.errors == []
    state = torch.load(tmp_path / "run" / "checkpoint" / "last.pt", weights_only=True)
    assert len(state.get("inside", {"random": [0, 0]})["random"]) == 2
