"""How the client sends: again while the service is busy, and nothing that it knows already."""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

BUSY = (429, 503)
"""Answers after which the same request may go well."""
QUIET_SECONDS = 90
"""A stream that is silent for so long, heartbeats included, is taken for broken."""
_KEPT = 64


class FelsinaError(Exception):
    """What went wrong, in one line."""


class Refused(FelsinaError):
    """The service answered with a problem (RFC 9457); ``detail`` says what to do."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(f"{status} {title}: {detail}")
        self.status, self.title, self.detail = status, title, detail


class Unreachable(FelsinaError):
    """No answer came in time, after all attempts."""


class Sender:
    """Sends requests to one service.

    Args:
        url: where the service is.
        headers: sent with each request.
        patience: seconds to go on in all while the service is busy or cannot be reached.
        http: the connections.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        patience: float,
        http: httpx.Client,
    ) -> None:
        self.url, self.headers, self.http = url, dict(headers), http
        self.patience = patience
        self._known: OrderedDict[str, tuple[str, Any]] = OrderedDict()

    def get(self, path: str, **query: str | None) -> Any:
        """A JSON answer; what has not changed since is not sent again."""
        url = str(httpx.URL(self.url + path, params=asked(query)))
        tag, known = self._known.get(url, ("", None))
        answer = self._send("GET", url, headers={"If-None-Match": tag} if tag else {})
        if answer.status_code != 304:
            known = answer.json()
        if tag := answer.headers.get("etag", ""):
            self._known[url] = tag, known
            self._known.move_to_end(url)
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return known

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """A JSON answer; all that is posted may be posted twice without harm."""
        return self._send("POST", self.url + path, json=body).json()

    @contextmanager
    def stream(
        self, path: str, headers: Mapping[str, str], **query: str | None
    ) -> Iterator[Iterator[str]]:
        """Lines of an answer that goes on and on.

        Raises:
            Unreachable: where the connection ends without a word, or the service is busy.
        """
        url = self.url + path
        sent = self.headers | {"Accept": "text/event-stream"} | dict(headers)
        timeout = httpx.Timeout(10, read=QUIET_SECONDS)
        try:
            with self.http.stream(
                "GET", url, params=asked(query), headers=sent, timeout=timeout
            ) as answer:
                if answer.is_error:
                    answer.read()
                    failure = refusal(answer)
                    if answer.status_code in BUSY:
                        raise Unreachable(f"{url} is busy: {failure}")
                    raise failure
                yield answer.iter_lines()
        except httpx.TransportError as error:
            raise Unreachable(f"{url} sends no more: {error!r}") from error

    def _send(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, json: Any = None
    ) -> httpx.Response:
        """Send, and again with growing pauses while the service is busy or does not answer."""
        until, pause = time.monotonic() + self.patience, 0.5
        sent = self.headers | dict(headers or {})
        while True:
            try:
                answer = self.http.request(method, url, headers=sent, json=json)
            except httpx.TransportError as error:
                wait, failure = 0.0, Unreachable(f"{url} does not answer: {error!r}")
            else:
                if not answer.is_error:
                    return answer
                wait, failure = _retry_after(answer), refusal(answer)
                if answer.status_code not in BUSY:
                    raise failure
            wait = max(wait, pause * random.uniform(0.5, 1))
            if time.monotonic() + wait > until:
                raise failure
            time.sleep(wait)
            pause *= 2


def refusal(answer: httpx.Response) -> Refused:
    """The error that an answer says, be it a problem or a proxy's page."""
    try:
        problem = answer.json()
        return Refused(answer.status_code, str(problem["title"]), str(problem["detail"]))
    except (ValueError, KeyError, TypeError):
        return Refused(answer.status_code, answer.reason_phrase, answer.text[:200])


def _retry_after(answer: httpx.Response) -> float:
    """Seconds that the service asks to wait, said as a number or as a date."""
    said = answer.headers.get("retry-after", "0")
    try:
        return float(said)
    except ValueError:
        return (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds()


def asked(query: Mapping[str, str | None]) -> dict[str, str]:
    """Query parameters without those that are left out."""
    return {name: value for name, value in query.items() if value is not None}
