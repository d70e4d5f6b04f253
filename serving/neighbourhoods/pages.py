"""The pages of neighbourhoods and of contested cases, rendered: HTML without a script."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from models.contracts import FelsinaError
from serving.cases import SUBJECTS, Case, Cases, clean, published, shown_code, worded
from serving.catalogue import Catalogue
from serving.neighbourhoods.places import Place, Served, places_of
from serving.neighbourhoods.sketch import sketch_of
from serving.neighbourhoods.speech import Speech
from serving.neighbourhoods.words import LANGUAGES
from serving.page import Asset, asset_of, static_path
from serving.reports import Reports
from serving.retention import CASES, rule_of

_HTML = "text/html; charset=utf-8"
_KINDS = (
    ("all", "map_measured"),
    ("some", "map_partly"),
    ("none", "map_never"),
    ("worse", "map_worse"),
)
"""Classes of the map's shapes, with their words."""
MOST_SHOWN = 100
"""Cases on the page; the report has all of them."""
_GIVEN = ("dataset", "area", "subject", "text")
"""Fields of the form of a new case."""


class Fault(Exception):
    """Why what somebody wrote is not taken.

    Args:
        status: of HTTP.
        key: of the phrase that says so.
        values: that are filled in.
    """

    def __init__(self, status: int, key: str, **values: Any) -> None:
        super().__init__(key)
        self.status, self.key, self.values = status, key, values


class City:
    """What is served, by neighbourhood; made anew when a release, report or approval changes.

    Args:
        catalogue: knows what is served.
        reports: of the board.
    """

    def __init__(self, catalogue: Catalogue, reports: Reports) -> None:
        self.catalogue, self.reports = catalogue, reports
        self._seen: Any = None
        self._served: list[Served] = []
        self._places: list[Place] = []
        self._lock = threading.Lock()

    def now(self) -> tuple[Any, list[Served], list[Place]]:
        """A mark that changes with them, what is served, and the neighbourhoods."""
        releases = [runtime.release for runtime in self.catalogue.runtimes().values()]
        mark = [(r.id, self.reports.mark(r), r.approval) for r in releases]
        with self._lock:
            if mark != self._seen:
                self._served = [Served.of(r, self.reports.of(r)) for r in releases]
                self._places = places_of(self._served)
                self._seen = mark
            return mark, self._served, self._places


class Pages:
    """The pages, rendered.

    Args:
        catalogue: knows what is served.
        reports: of the board.
    """

    def __init__(self, catalogue: Catalogue, reports: Reports) -> None:
        self.city, self.cases = City(catalogue, reports), Cases(catalogue.store)
        self.home = catalogue.home
        self._templates = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._kept: dict[str, tuple[Any, Asset]] = {}

    def page(self, language: str) -> Asset:
        """How well everything is forecast, neighbourhood by neighbourhood, and the cases."""
        mark, served, places = self.city.now()
        said = published(self.cases.store)
        if (kept := self._kept.get(language)) and kept[0] == (mark, said):
            return kept[1]
        latest = said[: -MOST_SHOWN - 1 : -1]
        cases = [
            told | {"answer": case[f"answer_{language}"]}
            for case, told in zip(latest, self._cases(latest, Speech(language)), strict=True)
        ]
        made = asset_of(
            self._render(
                "page",
                language,
                sketch=sketch_of(places),
                kinds=[one for one in _KINDS if one[0] in _kinds(places)],
                cases=cases,
                total=len(said),
                synthetic=any(one.release.manifest["data"]["synthetic"] for one in served),
            ).encode(),
            _HTML,
        )
        self._kept[language] = (mark, said), made
        return made

    def write(self, language: str, given: Mapping[str, str], error: str = "") -> str:
        """The form of a new case, with what was given so far."""
        return self._render(
            "write",
            language,
            given={key: given.get(key, "") for key in _GIVEN},
            error=error,
            subjects=SUBJECTS,
            days=self._days(given.get("dataset", "")),
        )

    def check(self, given: Mapping[str, str]) -> None:
        """Refuse a new case that lacks something.

        Raises:
            Fault: saying what.
        """
        _, served, places = self.city.now()
        if given.get("dataset") not in {one.spec.dataset for one in served}:
            raise Fault(422, "error_dataset")
        if given.get("area", "") not in {"", *(place.key for place in places)}:
            raise Fault(422, "error_place")
        if given.get("subject") not in SUBJECTS:
            raise Fault(422, "error_subject")
        _readable(given)

    def open(self, given: Mapping[str, str]) -> tuple[str, str]:
        """Open a case that was checked; its number and code."""
        return self.cases.open(*(given.get(key, "") for key in _GIVEN))

    def known(self, given: Mapping[str, str]) -> Case:
        """The case whose number and code were given.

        Raises:
            Fault: if they fit none.
        """
        found = self.cases.follow(given.get("number", ""), given.get("code", ""))
        if found is None:
            raise Fault(404, "not_found")
        return found

    def change(self, case: Case, given: Mapping[str, str]) -> Case:
        """Do what the writer of a case asks for; the case as it is then.

        Raises:
            Fault: if it cannot be done.
        """
        try:
            if given.get("do") == "add":
                _readable(given)
                self.cases.add(case.number, given["text"])
            elif given.get("do") == "erase":
                self.cases.erase(case.number, "its writer")
        except FelsinaError as error:
            raise Fault(409, "error_closed") from error
        return self.known(given)

    def sent(self, language: str, number: str, code: str) -> str:
        """Number and code of a new case."""
        return self._render("sent", language, number=number, code=shown_code(code))

    def follow(self, language: str, case: Case | None, code: str = "", error: str = "") -> str:
        """A case for its writer, or the form that asks for number and code."""
        if case is None:
            return self._render("follow", language, case=None, error=error)
        told = worded(case)
        return self._render(
            "follow",
            language,
            **self._cases([told], Speech(language))[0],
            case=case,
            code=code,
            error=error,
            answer=told[f"answer_{language}"],
            lines=told["lines"],
        )

    def _cases(self, cases: list[dict[str, Any]], speech: Speech) -> list[dict[str, Any]]:
        """Cases with place and forecast as people call them."""
        _, served, places = self.city.now()
        areas = {place.key: place.name for place in places} | {"": speech.say("whole_short")}
        known = {one.spec.dataset: self._heading(one, served, speech) for one in served}
        return [
            {key: case[key] for key in ("number", "subject", "state", "opened")}
            | {
                "place": areas.get(case["area"], case["area"]),
                "forecast": known.get(case["dataset"], case["dataset"]),
            }
            for case in cases
        ]

    def _days(self, dataset: str) -> int:
        rule = rule_of(self.home, dataset)
        return CASES if rule is None else rule["keep_days"]["cases"]

    @staticmethod
    def _heading(one: Served, served: list[Served], speech: Speech) -> str:
        """What a dataset forecasts; its own name too where others forecast the same."""
        alike = [other for other in served if other.spec.target == one.spec.target]
        name = speech.target(one)
        return name if len(alike) == 1 else f"{name}: {one.spec.dataset}"

    def _render(self, name: str, language: str, **values: Any) -> str:
        _, served, places = self.city.now()
        speech = Speech(language)
        other = next(one for one in LANGUAGES if one != language)
        inside = groupby(places, key=lambda place: place.district)
        return self._templates.get_template(f"{name}.html").render(
            language=language,
            other=other,
            other_path=Speech(other).path("follow" if name == "sent" else name),
            say=speech.say,
            path=speech.path,
            static=static_path,
            told=speech.entry,
            board=speech.board,
            conditions=speech.conditions,
            tested=speech.tested,
            day=speech.day,
            heading=lambda one: self._heading(one, served, speech),
            served=served,
            places=places,
            districts=[(district, list(group)) for district, group in inside],
            **values,
        )


def _kinds(places: list[Place]) -> set[str]:
    """What the map shows of some places."""
    return {place.measured for place in places} | {"worse" for place in places if place.worse}


def _readable(given: Mapping[str, str]) -> None:
    """Refuse a text that is empty or too long."""
    try:
        clean(given.get("text", ""))
    except FelsinaError as error:
        raise Fault(422, "error_text", n=len(given.get("text", ""))) from error
