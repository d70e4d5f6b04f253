"""The client itself."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import httpx
import numpy as np
from numpy.typing import NDArray

from felsina_client.answers import Event, Forecast, Members, Scenarios, events
from felsina_client.sending import Sender, Unreachable

Time = datetime | np.datetime64 | str
"""A datetime with a zone, a numpy one in UTC, or text of ISO 8601."""
Values = Sequence[float | None] | NDArray[np.floating[Any]]
"""One value a time; None or NaN where nothing is known."""


class Felsina:
    """A Felsina service. One object is for one thread; close it, or use it in ``with``.

    Args:
        url: where the service is.
        key: key of your app, ``fel_...``; without one you are anonymous and may only read.
        timeout: seconds to wait for an answer.
        patience: seconds to go on in all where the service is busy or cannot be reached.
        http: a client of your own, with its proxies, certificates and timeouts.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        timeout: float = 30,
        patience: float = 60,
        http: httpx.Client | None = None,
    ) -> None:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        http = http or httpx.Client(timeout=timeout)
        self._sender = Sender(url.rstrip("/"), headers, patience, http)

    def __enter__(self) -> Felsina:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._sender.http.close()

    def datasets(self, domain: str | None = None) -> list[dict[str, Any]]:
        """Every dataset served, with its target, unit, step, horizon and release."""
        return self._sender.get("/v1/datasets", domain=domain)["datasets"]

    def dataset(self, name: str) -> dict[str, Any]:
        """A dataset with its nodes and forcings, and whom its training protects."""
        return self._sender.get(f"/v1/datasets/{name}")

    def forecast(
        self,
        dataset: str,
        nodes: Sequence[str] | None = None,
        areas: Sequence[str] | None = None,
        bbox: tuple[float, float, float, float] | None = None,
        leads: Sequence[int] | None = None,
        quantiles: Sequence[float] | None = None,
        init_time: Time | None = None,
    ) -> Forecast:
        """The latest forecast, or of ``init_time``, of all nodes or of some.

        Args:
            dataset: name of the dataset.
            nodes: ids; all when left out.
            areas: names of areas.
            bbox: west, south, east, north in degrees.
            leads: steps ahead, from 1.
            quantiles: levels, such as 0.5.
            init_time: time of the last observation that the model may see.
        """
        init = None if init_time is None else _text(init_time)
        chosen = {"nodes": nodes, "areas": areas, "bbox": bbox, "leads": leads}
        chosen = {name: _listed(part) for name, part in (chosen | {"quantiles": quantiles}).items()}
        answer = self._sender.get(f"/v1/forecasts/{dataset}", init_time=init, **chosen)
        return Forecast.of(answer)

    def members(self, dataset: str, nodes: Sequence[str] | None = None) -> Members:
        """Joint members of the latest forecast."""
        return Members.of(
            self._sender.get(f"/v1/forecasts/{dataset}/members", nodes=_listed(nodes))
        )

    def observe(self, dataset: str, times: Sequence[Time], values: Mapping[str, Values]) -> int:
        """Write observed values by node; they are on disk when this returns.

        Returns:
            How many values were taken.
        """
        return self._sender.post(f"/v1/observations/{dataset}", _table(times, values))["accepted"]

    def force(
        self,
        dataset: str,
        times: Sequence[Time],
        values: Mapping[str, Values],
        issued_at: Time | None = None,
    ) -> int:
        """Write past or future values of forcings by ``name`` or ``name@node``."""
        issued = {} if issued_at is None else {"issued_at": _text(issued_at)}
        body = _table(times, values) | issued
        return self._sender.post(f"/v1/forcings/{dataset}", body)["accepted"]

    def scenario(
        self,
        surrogate: str,
        scenarios: Sequence[Mapping[str, Any]] = ({},),
        inputs: Mapping[str, Any] | None = None,
        preset: str | None = None,
        places: Sequence[str] | None = None,
        extrapolate: bool = False,
    ) -> Scenarios:
        """Ask a surrogate what if; inputs that are left out keep their defaults."""
        body = {"scenarios": [*map(dict, scenarios)], "inputs": dict(inputs or {})}
        body |= {"preset": preset, "places": None if places is None else list(places)}
        query = "?extrapolate=true" if extrapolate else ""
        answer = self._sender.post(f"/v1/scenarios/{surrogate}{query}", body)
        return Scenarios.of(answer)

    def alerts(
        self, dataset: str | None = None, state: Literal["active", "ended", "all"] = "active"
    ) -> list[dict[str, Any]]:
        """Thresholds that are likely to be reached: where, when, how likely, who acknowledged."""
        return self._sender.get("/v1/alerts", dataset=dataset, state=state)["alerts"]

    def events(self, datasets: Sequence[str] | None = None) -> Iterator[Event]:
        """Forecasts and alerts as they come, for ever; a broken connection is taken up again."""
        last, failed_since = "", 0.0
        while True:
            resumed = {"Last-Event-ID": last} if last else {}
            try:
                with self._sender.stream(
                    "/v1/events", resumed, datasets=_listed(datasets)
                ) as lines:
                    failed_since = 0.0
                    for event in events(lines):
                        last = event.id or last
                        yield event
            except Unreachable:
                failed_since = failed_since or time.monotonic()
                if time.monotonic() - failed_since > self._sender.patience:
                    raise
            time.sleep(1)


def _table(times: Sequence[Time], values: Mapping[str, Values]) -> dict[str, Any]:
    columns = {
        name: [None if v is None or np.isnan(v) else float(v) for v in column]
        for name, column in values.items()
    }
    return {"times": [_text(stamp) for stamp in times], "values": columns}


def _text(stamp: Time) -> str:
    if isinstance(stamp, datetime):
        return stamp.isoformat()
    return stamp if isinstance(stamp, str) else f"{stamp.astype('datetime64[s]')}Z"


def _listed(parts: Sequence[object] | None) -> str | None:
    return None if parts is None else ",".join(str(part) for part in parts)
