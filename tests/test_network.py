"""Somebody answers, or nobody does."""

from __future__ import annotations

import http.server
import socket
import threading

import pytest

from longtail.network import reachable


def test_any_answer_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    class NotFound(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(404)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), NotFound) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert reachable(f"http://127.0.0.1:{server.server_port}/weights.pth", seconds=60)


def test_a_closed_door_and_an_unknown_name_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1,nobody.invalid")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        assert not reachable(f"http://127.0.0.1:{taken.getsockname()[1]}/")
    assert not reachable("http://nobody.invalid/")
