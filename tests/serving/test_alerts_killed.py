"""kill -9 in the middle of it: nothing is raised twice, nothing is told by half."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from serving.store import FORCED
from tests.fixtures.alarmed import City
from tests.fixtures.tiny import ROOT
from tests.serving.conftest import HOURS

pytestmark = pytest.mark.slow


def story(city: City) -> list[tuple]:
    """What was told, without names and clocks."""
    alerts = {alert["id"]: alert for alert in city.alerts()}
    told = [
        (alerts[m.alert]["node"], m.said["last_seen"], m.number, m.kind, m.said["probability"])
        for m in city.engine.held.messages(list(alerts))
    ]
    return sorted(told)


def test_a_story_with_kills_is_the_story_without(lived: City, city: City, tmp_path: Path) -> None:
    data, first = city.tiny.dataset, city.first
    assert data.forcings is not None
    stop = first + 1 + HOURS
    rows = slice(first, stop + city.tiny.spec.horizon)
    times = city.tiny.builder.times(np.arange(rows.start, rows.stop))
    names = [forcing.name for forcing in city.tiny.spec.forcings]
    city.store.write("tiny", FORCED, times, names, data.forcings[rows, 0])
    place = tmp_path / "rows.npz"
    np.savez(place, times=times[: HOURS + 1], values=data.values[first:stop], ids=data.graph.ids)
    command = [sys.executable, "-m", "tests.fixtures.evaluating"]
    command += [str(city.home), str(tmp_path / "alarmed.db"), str(place)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    rng, kills = random.Random(3), 0
    while True:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "evaluating"
        time.sleep(rng.uniform(0.05, 0.6))
        if kills < 4 and process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            process.wait(30)
            kills += 1
            continue
        assert process.wait(120) == 0
        break
    assert kills == 4
    told = story(city)
    assert len(told) > 6
    assert told == story(lived)
    events = city.engine.events.after(0, 10_000)
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    changes = sum(event.kind == "alert" for event in events)
    assert changes == len(told)
