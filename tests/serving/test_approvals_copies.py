"""How long a copy of an answer may be kept where a board decides."""

import numpy as np

from serving import catalogue as catalogue_module
from serving.ready import MOST_SECONDS
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
