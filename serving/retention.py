"""How long what is held is kept, who answers for it, and the daily round that sees to it.

Rules stand in ``retention.toml`` under ``FELSINA_HOME``, a table a dataset::

    [bologna-mts]
    responsible = "Mobility office, City of Bologna"
    contact = "mobility@city.example"
    purpose = "Forecasting traffic on regional roads"
    legal_basis = "Public interest, GDPR article 6(1)(e)"
    keep_days = { observations = 730, forcings = 730, issues = 60, alerts = 365, cases = 90 }

What has no number of days is kept, but for the words of contested cases, which go ``CASES`` days
after their answer even where there is no rule. A rule never takes what the served model reads; of a
dataset of which no release is there any more it takes what is older, whatever it is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, RootModel

from models.contracts import FelsinaError
from models.toml_file import read_model
from serving.cases import Cases
from serving.erasure import Eraser
from serving.release import Release, champions
from serving.store import FORCED, OBSERVED, Store

if TYPE_CHECKING:
    from serving.catalogue import Catalogue

log = logging.getLogger(__name__)
RULES = "retention.toml"
_KINDS = {"observations": OBSERVED, "forcings": FORCED}
CASES = 180
"""Days that the words of a case are kept after its answer, unless a rule says otherwise."""
_DAY = 86_400
_LOOK = 600
"""Seconds between two looks at whether the daily round is due."""


class KeepDays(BaseModel):
    """Days that each kind is kept; None, for ever."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    observations: int | None = Field(default=None, ge=1, le=100_000)
    forcings: int | None = Field(default=None, ge=1, le=100_000)
    issues: int | None = Field(default=None, ge=1, le=100_000, description="Forecasts as issued.")
    alerts: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="Alerts that ended, what was told of them, and who acknowledged them.",
    )
    cases: int = Field(
        default=CASES,
        ge=1,
        le=100_000,
        description="What people wrote in a contested case, counted from its answer.",
    )


UNRULED = KeepDays()
"""How long is kept what no rule is about."""


class Rule(BaseModel):
    """How long the data of a dataset are kept, and who answers for it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    responsible: str = Field(min_length=1, description="Person or office.")
    contact: str = Field(min_length=1)
    purpose: str = Field(min_length=1)
    legal_basis: str = Field(min_length=1)
    keep_days: KeepDays


class _Rules(RootModel[dict[str, Rule]]):
    """The file: rules by dataset."""


def load_rules(home: Path) -> dict[str, Rule]:
    """Rules by dataset; none where there is no file.

    Raises:
        FelsinaError: naming the dataset and the member that is wrong.
    """
    path = home / RULES
    if not path.is_file():
        return {}
    return read_model(path, _Rules).root


def rule_of(home: Path, dataset: str) -> dict[str, Any] | None:
    """The rule of a dataset for those who ask; None where there is none, or no sound file."""
    try:
        rule = load_rules(home).get(dataset)
    except FelsinaError as error:
        log.error("%s", error)
        return None
    return None if rule is None else rule.model_dump()


@dataclass(frozen=True)
class Due:
    """What a round deletes of a dataset.

    Attributes:
        dataset: of which.
        what: kind, for people.
        before: what is older goes; None where age is not the reason.
        rows: how many there are.
        delete: does it.
    """

    dataset: str
    what: str
    before: np.datetime64 | None
    rows: int
    delete: Callable[[], int]


def due(
    eraser: Eraser, dataset: str, release: Release | None, rule: Rule | None, now: np.datetime64
) -> list[Due]:
    """What is to be deleted of a dataset, of which a ``release`` is served or none.

    Raises:
        FelsinaError: if a rule would take what the release reads.
    """
    days = rule.keep_days if rule else UNRULED
    cuts = {
        name: None if kept is None else now - np.timedelta64(kept * _DAY, "s")
        for name, kept in days
    }
    if release is not None:
        _check(release, days, cuts, eraser.store.state(dataset)[1], now)
    found = []
    for name, kind in _KINDS.items():
        if (before := cuts[name]) is not None:
            reason = f"{RULES}: {name} are kept {getattr(days, name)} days"
            found.append(
                Due(
                    dataset,
                    name,
                    before,
                    eraser.older(dataset, kind, before),
                    lambda k=kind, b=before, r=reason: eraser.drop_older(dataset, k, b, r),
                )
            )
    found += _issues_due(eraser, dataset, release, days, cuts["issues"])
    if (ended := cuts["alerts"]) is not None:
        why = f"{RULES}: alerts are kept {days.alerts} days"
        count = eraser.alerts(dataset, ended)
        found.append(
            Due(dataset, "alerts", ended, count, lambda: eraser.drop_alerts(dataset, ended, why))
        )
    return found + _words_due(eraser, dataset, now - np.timedelta64(days.cases * _DAY, "s"), days)


def _words_due(eraser: Eraser, dataset: str, before: np.datetime64, days: KeepDays) -> list[Due]:
    """What people wrote in cases that were answered long ago."""
    if not (rows := eraser.words(dataset, before)):
        return []
    reason = f"words of cases are kept {days.cases} days after the answer"

    def drop() -> int:
        return eraser.drop_words(dataset, before, reason)

    return [Due(dataset, "words of cases", before, rows, drop)]


def _issues_due(
    eraser: Eraser,
    dataset: str,
    release: Release | None,
    days: KeepDays,
    before: np.datetime64 | None,
) -> list[Due]:
    """Kept forecasts: those of replaced releases, and old ones."""
    if release is None and before is None:
        return []
    reasons = ["of replaced releases"] * (release is not None)
    reasons += [f"older than {days.issues} days"] * (before is not None)
    reason = ", or ".join(reasons)
    meant = eraser.issues(dataset, None if release is None else release.id, before)
    return [
        Due(
            dataset,
            f"forecasts as issued ({reason})",
            before,
            eraser.count_issues(meant),
            lambda: eraser.drop_issues(dataset, meant, reason),
        )
    ]


def not_served(
    home: Path, rules: dict[str, Rule], served: Iterable[str], store: Store
) -> list[str]:
    """Datasets with a rule, or with a case's words, of which no release is there.

    Not even one that cannot be served.
    """
    return sorted({*rules, *Cases(store).datasets()} - set(served) - set(champions(home)))


def _check(
    release: Release,
    days: KeepDays,
    cuts: dict[str, np.datetime64 | None],
    latest: np.datetime64 | None,
    now: np.datetime64,
) -> None:
    """Refuse times before which is deleted that are later than what the release reads."""
    spec = release.spec
    reads = {"observations": spec.reach, "forcings": spec.reach, "issues": 2 * spec.horizon}
    for name, steps in reads.items():
        cut = cuts[name]
        if cut is None or latest is None:
            continue
        first = latest - (steps - 1) * np.timedelta64(spec.seconds, "s")
        if cut > first:
            least = -(-int((now - first).astype(np.int64)) // _DAY)
            raise FelsinaError(
                f"{RULES}: {spec.dataset} keeps {name} {getattr(days, name)} days, but release "
                f"{release.id} reads them from {first}Z on; nothing was deleted: keep {least} days "
                "or more, or serve another release"
            )


def tidy(home: Path, store: Store, releases: dict[str, Release], by: str = "server") -> None:
    """Apply every rule; one that cannot be applied is logged, and stops no other."""
    eraser, now = Eraser(store, by), np.datetime64("now", "s")
    try:
        rules = load_rules(home)
    except FelsinaError as error:
        log.error("%s", error)
        return
    meant = releases | dict.fromkeys(not_served(home, rules, releases, store))
    for dataset, release in meant.items():
        try:
            for item in due(eraser, dataset, release, rules.get(dataset), now):
                if gone := item.delete():
                    log.info("retention: deleted %d %s of %s", gone, item.what, dataset)
        except FelsinaError as error:
            log.error("%s", error)


def every_day(catalogue: Catalogue) -> None:
    """Tidy once a day for as long as the process lives; of several workers one does."""
    while True:
        try:
            if Eraser(catalogue.store, "server").claim("retention", _DAY):
                served = catalogue.runtimes().items()
                releases = {dataset: runtime.release for dataset, runtime in served}
                tidy(catalogue.home, catalogue.store, releases)
        except Exception:  # a database that is away today is there tomorrow
            log.exception("retention: the daily round failed")
        time.sleep(_LOOK)
