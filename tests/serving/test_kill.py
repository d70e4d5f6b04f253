"""kill -9 of everything while apps post: what was acknowledged is there after a restart."""

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from serving.store import OBSERVED, Store
from tests.fixtures.tiny import Server, Tiny

pytestmark = pytest.mark.slow

HOUR = np.timedelta64(3600, "s")
START = np.datetime64("2024-06-01T00:00:00", "s")
WRITERS, MOST = 3, 2000
"""Apps that post at once, and hours that each may post."""


class App(threading.Thread):
    """Posts an hour of its node after another and keeps what was acknowledged."""

    def __init__(self, number: int, node: str, server: Server) -> None:
        super().__init__(daemon=True)
        self.number, self.node = number, node
        self.url, self.key = server.client.base_url, server.client.headers["authorization"]
        self.acknowledged: list[int] = []
        self.refused = ""

    def value(self, hour: int) -> float:
        return 1000.0 * self.number + hour

    def run(self) -> None:
        headers = {"authorization": self.key}
        with httpx.Client(
            base_url=self.url, timeout=10, trust_env=False, headers=headers
        ) as client:
            for hour in range(MOST):
                body: dict[str, Any] = {
                    "times": [f"{START + hour * HOUR}Z"],
                    "values": {self.node: [self.value(hour)]},
                }
                try:
                    answer = client.post("/v1/observations/tiny", json=body)
                except httpx.TransportError:
                    return
                if answer.status_code != 200:
                    self.refused = answer.text
                    return
                self.acknowledged.append(hour)


def place_of(tiny: Tiny, folder: Path) -> Path:
    for part in ("releases", "champions"):
        shutil.copytree(tiny.home / part, folder / part)
    return folder


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_nothing_acknowledged_is_lost(
    tiny: Tiny, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    database = request.getfixturevalue("postgres") if kind == "postgresql" else None
    store = str(tmp_path / "observations.db") if database is None else database.database()
    home, log = place_of(tiny, tmp_path / "home"), tmp_path / "log"
    server = Server(home, store, log)
    moment = np.random.default_rng().uniform(0.5, 2.5)
    nodes = tiny.dataset.graph.ids[:WRITERS]
    apps = [App(number, node, server) for number, node in enumerate(nodes)]
    for app in apps:
        app.start()
    try:
        while not all(app.acknowledged for app in apps):
            assert not any(app.refused for app in apps), [app.refused for app in apps]
            time.sleep(0.01)
        time.sleep(moment)
    finally:
        if database is not None:
            database.kill()  # first: the server must not acknowledge what its database lost
        server.kill()
    for app in apps:
        app.join(20)
    if database is not None:
        database.start()
    counts = [len(app.acknowledged) for app in apps]
    assert all(5 < count < MOST for count in counts), counts
    again = Server(home, store, log)
    try:
        for app in apps:
            held = Store(store).read("tiny", OBSERVED, [app.node], START, MOST, 3600)[:, 0]
            lost = [h for h in app.acknowledged if held[h] != app.value(h)]
            assert lost == [], f"killed after {moment:.2f} s"
            assert np.count_nonzero(~np.isnan(held)) <= len(app.acknowledged) + 1
        query = {"nodes": ",".join(nodes), "last": 5}
        answer = again.client.get("/v1/observations/tiny", params=query)
        assert answer.status_code == 200
        assert answer.json()["times"][-1] >= f"{START + (max(counts) - 1) * HOUR}Z"
        body = {"times": [f"{START}Z"], "values": {nodes[0]: [7.0]}}
        assert again.client.post("/v1/observations/tiny", json=body).status_code == 200
    finally:
        again.kill()
