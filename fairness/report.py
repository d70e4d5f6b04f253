"""A board's report as pages that people read: from ``report.json`` alone, in two languages."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from fairness import figures
from fairness.groups import CLASSES, LEAST_RESIDENTS, LEAST_SENSORS
from fairness.intervals import LEAST_DAYS
from fairness.language import LANGUAGES, TEMPLATES, Language, words
from fairness.surrogates import leaves
from fairness.verdict import evidence_state, judged
from models.spoken import elided

PAGES = ("report", "card", "annex-iv")
_SPOKEN = ("number", "short", "percent", "hundredths", "day", "said", "label", "group", "named")
BANDS = ("50", "80", "90")
ANNEX: dict[str, tuple[str, ...]] = {
    "1a": ("purpose", "provider", "owner"),
    "1b": (),
    "1c": (),
    "1d": (),
    "1e": (),
    "1f": (),
    "1g": (),
    "1h": ("intended_users", "forbidden_uses"),
    "2a": (),
    "2b": ("known_limits",),
    "2c": (),
    "2d": ("data_statement",),
    "2e": ("oversight",),
    "2f": (),
    "2g": (),
    "2h": ("security",),
    "3": ("affected_people", "risks", "oversight"),
    "4": (),
    "5": ("risks", "measures"),
    "6": (),
    "7": (),
    "8": (),
    "9": ("monitoring",),
}
"""Points of Annex IV of Regulation (EU) 2024/1689, with the human-written parts that each needs."""
NOT_IN_RECORD = ("5", "7", "8")
"""Points that no record fills: they are the provider's."""
SHOWN_AUDIT = (
    "release",
    "manifest_sha256",
    "dataset",
    "unit",
    "days",
    "from",
    "to",
    "beside",
    "lead_bands",
    "evidence",
    "groupings",
    "coverage",
    "watch",
    "floods",
    "left_out",
)
"""Members of an audit's record that every page knows; others are shown as tables of their own."""


def render(record: dict[str, Any], page: str, language: str) -> str:
    """One page as HTML: one file, no script, nothing from elsewhere.

    Args:
        record: of ``report.json``.
        page: one of ``PAGES``.
        language: ``it`` or ``en``.
    """
    speech = Language(language, record["about"].get("labels", {}))
    kind = record.get("kind", "")
    known = words(language, kind)
    other = next(code for code in LANGUAGES if code != language)
    text = (
        _environment()
        .get_template(f"{kind}/{page}.html" if kind else f"{page}.html")
        .render(
            r=record,
            w=known,
            language=language,
            other=f"{page}.{other}.html",
            style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
            name=speech.said(record["about"]["name"])
            if "name" in record["about"]
            else record["dataset"],
            speech=speech,
            annex=ANNEX,
            gaps=annex_gaps(record),
            **({"leaves": leaves} if kind else _of_forecaster(record, speech)),
        )
    )
    return text.strip() + "\n"


def _of_forecaster(record: dict[str, Any], speech: Language) -> dict[str, Any]:
    """What only a forecaster's pages show."""
    return {
        "harms": list(words(speech.code)["harms"]),
        "judged": judged,
        "least": {
            "days": LEAST_DAYS,
            "sensors": LEAST_SENSORS,
            "classes": CLASSES,
            "residents": LEAST_RESIDENTS,
        },
        "plots": Plots(record, speech),
        "evidence": evidence_state(record),
        "comparisons": sum(record["verdict"]["counts"].values()),
        "more": {k: v for k, v in record["audit"].items() if k not in SHOWN_AUDIT},
    }


@lru_cache
def _environment() -> Environment:
    """Templates, compiled once, whose filters speak the language of the page."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {name: _spoken(name) for name in _SPOKEN} | {
        "fill": lambda text, **said: elided(text.format(**said)),
        "capital": lambda text: text[:1].upper() + text[1:],
    }
    return environment


def _spoken(name: str) -> Callable[..., str]:
    @pass_context
    def speak(context: Context, *values: Any) -> str:
        return getattr(context["speech"], name)(*values)

    return speak


def annex_gaps(record: dict[str, Any]) -> list[str]:
    """Points of Annex IV that the record does not fill."""
    about = record["about"]
    return [
        point
        for point, parts in ANNEX.items()
        if point in NOT_IN_RECORD
        or any(part not in about for part in parts)
        or (point == "2c" and "electricity" not in about)
    ]


class Plots:
    """A record's figures in one language.

    Args:
        record: of ``report.json``.
        speech: the language.
    """

    def __init__(self, record: dict[str, Any], speech: Language) -> None:
        self.record, self.speech, self.words = record, speech, words(speech.code)

    def by_lead(self) -> Markup:
        """Errors by lead beside the naive and the simple forecast."""
        identity, performance = self.record["identity"], self.record["performance"]
        order = ("felsina", performance["naive"], "ridge")
        series = [(self.words["models"][name], performance["by_lead"][name]) for name in order]
        title = self.words["text"]["lead_title"].format(unit=identity["unit"])
        across = self.words["text"]["lead_across"].format(step=identity["step"])
        return figures.line_plot(title, series, across, identity["unit"], self.speech.tick)

    def bands(self) -> Markup:
        """What came true of the promised bands."""
        models = self.record["performance"]["models"]
        rows = [
            (
                self.words["models"][name],
                [(int(band) / 100, models[name][f"coverage_{band}"]) for band in BANDS],
            )
            for name in ("felsina", "ridge", self.record["performance"]["naive"])
        ]
        texts = self.words["text"]["band_title"], self.words["label"]["promise"]
        return figures.band_plot(texts[0], rows, self.speech.percent, texts[1])

    def groups(self, grouping: dict[str, Any], harm: str) -> Markup:
        """Each group's harm beside what is tolerated."""
        harms = judged(grouping)["harms"]
        rows = [
            figures.Row(
                self.speech.group(group["name"]),
                found["worse_by"],
                found["low"],
                found["high"],
                found["verdict"],
            )
            for group, found in zip(grouping["groups"], harms[harm], strict=True)
        ]
        title = self.words["text"]["interval_title"].format(
            harm=self.words["harms"][harm], label=self.speech.label(grouping["attribute"])
        )
        tolerated = harms[harm][0]["tolerated"]
        limit = f"{self.words['label']['limit']} {self.speech.harm(harm, tolerated)}"

        def shown(value: float) -> str:
            return self.speech.harm(harm, value, signed=True)

        return figures.interval_plot(title, rows, tolerated, limit, shown)

    def map(self) -> Markup:
        """Where sensors are, and where none is."""
        found = self.record["map"]
        shapes = [
            (self.speech.named(area["name"]), area["sensors"], area["rings"])
            for area in found["areas"]
        ]
        names = {} if any(area["rings"] for area in found["areas"]) else self._middles()
        return figures.area_map(self.words["text"]["map_title"], shapes, found["sensors"], names)

    def _middles(self) -> dict[str, tuple[float, float]]:
        """Where an area's name may stand: in the middle of its sensors."""
        found = self.record["map"]
        middles = {}
        for at, area in enumerate(found["areas"]):
            own = [(lon, lat) for lon, lat, where in found["sensors"] if where == at]
            if own:
                lon, lat = (sum(p[i] for p in own) / len(own) for i in (0, 1))
                middles[self.speech.named(area["name"])] = (lon, lat)
        return middles

    def widest(self) -> float:
        """The largest factor by which bands widen when inputs are missing."""
        factors = self.record["robustness"]["missing"]["factor"]
        return float(max(f for rows in factors for leads in rows for f in leads))
