"""The real server does beside answering what it should: alerts, events, webhooks, backtests."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from serving.events import delivery
from tests.fixtures.alarmed import City
from tests.fixtures.listening import Reader, Receiver
from tests.fixtures.tiny import Server

pytestmark = pytest.mark.slow


def test_the_server_watches_while_it_answers_and_lets_listeners_go_when_it_ends(
    changeable: City, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FELSINA_WEBHOOK_LOCAL", "1")
    receiver, tiny = Receiver(), changeable.tiny
    shutil.copytree(changeable.home, tmp_path / "home")
    server = Server(tmp_path / "home", tmp_path / "twin.db", tmp_path / "log")
    try:
        body = {"url": f"http://127.0.0.1:{receiver.port}/", "events": ["forecast"]}
        made = server.client.post("/v1/webhooks", json=body).json()
        reader = Reader(f"http://127.0.0.1:{server.port}", "?datasets=tiny")
        assert reader.status == 200
        row = changeable.first + 1 + 48
        for path, given in (
            ("/v1/forcings/tiny", tiny.forced(row, row + 7)),
            ("/v1/observations/tiny", tiny.observed(row, row + 1)),
        ):
            assert server.client.post(path, json=given).status_code == 200
        (init,) = tiny.times(row, row + 1)

        def heard() -> bool:
            return any(k == "forecast" and d["init_time"] == init for _, k, d in reader.events)

        def told() -> bool:
            return any(init.encode() in body for _, body in receiver.got)

        def replayed() -> bool:
            rules = server.client.get("/v1/alerts/rules").json()["rules"]
            return rules[0]["backtest"] is not None

        for done in (heard, told, replayed):
            until = time.monotonic() + 60
            while not done() and time.monotonic() < until:
                time.sleep(0.1)
            assert done(), done.__name__
        head, content = receiver.got[-1]
        name, seconds = head["webhook-id"], int(head["webhook-timestamp"])
        assert head["webhook-signature"] == delivery.signature(
            made["secret"], name, seconds, content
        )
        assert not reader.ended.is_set()
        os.kill(server.process.pid, signal.SIGTERM)
        assert reader.ended.wait(15)
        assert reader.failure is None  # the stream was finished, not cut
        server.process.wait(30)
    finally:
        server.kill()
        receiver.close()
