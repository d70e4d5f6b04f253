"""What copies of answers and who watches the server are told of an approval's end."""

import numpy as np

from serving import catalogue as catalogue_module
from serving.catalogue import Catalogue
from serving.gate.metrics import Metrics
from serving.ready import MOST_SECONDS
from tests.fixtures.boards import terms_of
from tests.fixtures.housed import House, at

FORECAST = "/v1/forecasts/tiny"


def test_no_copy_outlives_the_approval(house: House, monkeypatch) -> None:
    """The approval's last day ends at midnight, UTC, whatever is expected of the data."""
    house.promote(house.first, expires="2030-06-01")
    at(monkeypatch, "2030-06-01")
    midnight = int(np.datetime64("2030-06-02", "s").astype(int))
    for before, lasts in ((3600, MOST_SECONDS), (61, 60), (45, 45), (1, 1), (0, 0), (-5, 0)):
        now = float(midnight - before)
        monkeypatch.setattr(catalogue_module.time, "time", lambda now=now: now)
        told = house.client.get(FORECAST).headers["cache-control"]
        assert told == f"public, max-age={lasts}, must-revalidate"
    house.promote(house.second, expires="2031-06-01")
    assert house.client.get(FORECAST).headers["cache-control"].startswith("public, max-age=60,")
    at(monkeypatch, "2031-06-02")
    refused = house.client.get(FORECAST)
    assert (refused.status_code, refused.headers["cache-control"]) == (503, "no-store")


def test_metrics_say_when_an_approval_ends_and_what_is_withheld(house: House) -> None:
    house.promote(house.first, expires="2030-06-01")
    metrics = Metrics([], Catalogue(house.home, house.store, house.approvals))

    def told(name: str) -> list[tuple[dict[str, str], float]]:
        (found,) = [one for one in metrics.held.collect() if one.name == f"felsina_{name}"]
        return [(sample.labels, sample.value) for sample in found.samples]

    midnight = np.datetime64("2030-06-02", "s").astype(float)
    of = {"dataset": "tiny", "release": house.first.name}
    assert told("approval_ends_seconds") == [(of, midnight)]
    assert told("withheld") == []
    meant = terms_of(house.home, house.first)
    house.board.register("a").alarm("tiny", meant.release, meant.manifest_sha256, "too high")
    assert told("approval_ends_seconds") == []
    assert told("withheld") == [({"dataset": "tiny"}, 1.0)]
