"""How a report says numbers, days, groups and sentences in Italian and in English."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from math import floor, log10
from pathlib import Path
from typing import Any

from fairness.verdict import SPAN
from models.spoken import elided, spoken_day

TEMPLATES = Path(__file__).with_name("templates")
LANGUAGES = ("it", "en")
CROSSED = " x "
"""Between the parts of a crossed attribute, and of its groups."""
MINUS, NONE, TIMES = "\u2212", "\u2013", " \u00d7 "
_ROMAN = re.compile("[IVX]+")
_LEVELS = ("area", "zona", "quartiere")
_BARE = 4
"""Digits that stand together in a group's name, which may be of years."""


@lru_cache
def words(language: str, kind: str = "") -> dict[str, Any]:
    """The sentences of a language, by section and name.

    Args:
        language: ``it`` or ``en``.
        kind: of release, whose folder of templates says what is said otherwise of it.
    """
    file = f"words.{language}.toml"
    known = tomllib.loads((TEMPLATES / file).read_text(encoding="utf-8"))
    if kind:
        own = tomllib.loads((TEMPLATES / kind / file).read_text(encoding="utf-8"))
        known |= {section: known.get(section, {}) | texts for section, texts in own.items()}
    return known


@dataclass(frozen=True)
class Language:
    """One language's way of saying things.

    Attributes:
        code: ``it`` or ``en``.
        labels: what the owner calls columns and their texts, by language.
    """

    code: str
    labels: dict[str, Any]

    def plain(self, text: str, bare: int = 3) -> str:
        """A number written with a point, in this language; so many digits are not set apart."""
        sign, digits = (MINUS, text[1:]) if text.startswith("-") else ("", text)
        whole, _, rest = digits.partition(".")
        apart, point = (".", ",") if self.code == "it" else (",", ".")
        if len(whole) > bare:
            whole = f"{int(whole):,}".replace(",", apart)
        return sign + whole + (point + rest if rest else "")

    def number(self, value: float | None, digits: int = 3) -> str:
        """A figure to so many significant digits; whole numbers stay whole."""
        if value is None:
            return NONE
        if isinstance(value, int) or value == 0:
            return self.plain(f"{value:.0f}")
        decimals = max(digits - 1 - floor(log10(abs(value))), 0)
        return self.plain(f"{value:.{decimals}f}")

    def percent(self, share: float | None, signed: bool = False) -> str:
        """A share of one in percent; with a decimal where it is nearly none, or nearly all."""
        if share is None:
            return NONE
        value = 100 * share
        near = 0 < abs(value) < 1 or 99 < abs(value) < 100
        text = f"{value:.1f}" if near else f"{value:.0f}"
        text = "0" if float(text) == 0 else text  # no minus, no digits after it
        return ("+" if signed and float(text) > 0 else "") + self.plain(text) + "%"

    def short(self, value: float) -> str:
        """A bound of a range, without zeros at its end."""
        return self.plain(f"{value:.3g}") if abs(value) < 999 else self.number(float(value))

    def tick(self, value: float) -> str:
        """A round number on an axis."""
        return self.plain(f"{value:g}")

    def hundredths(self, share: float | None) -> str:
        """How many of a hundred."""
        return NONE if share is None else self.plain(f"{round(100 * share):d}")

    def harm(self, name: str, share: float | None, signed: bool = False) -> str:
        """How much worse: what is counted, of a hundred; else in percent."""
        if name not in ("under_coverage", "missed", "false_alarms"):
            return self.percent(share, signed)
        return ("+" if signed and share and share >= 0.005 else "") + self.hundredths(share)

    def limit(self, harm: str, share: float) -> str:
        """What is tolerated of a harm, said by itself."""
        said = self.harm(harm, share)
        counted = words(self.code)["where"]["of_hundred"]
        return said if said.endswith("%") else counted.format(count=said)

    def day(self, text: str) -> str:
        """An ISO day or time as people write a day."""
        return spoken_day(text, self.code)

    def said(self, text: dict[str, str]) -> str:
        """A human-written text in this language."""
        return text[self.code]

    def label(self, attribute: str) -> str:
        """What an attribute is called."""
        if CROSSED in attribute:
            return TIMES.join(map(self.label, attribute.split(CROSSED)))
        if attribute in self.labels:
            return self.said(self.labels[attribute])
        return words(self.code)["groups"].get(attribute, attribute.replace("_", " "))

    def group(self, name: str) -> str:
        """What a group is called."""
        known = words(self.code)["groups"]
        if CROSSED in name:
            return TIMES.join(map(self.group, name.split(CROSSED)))
        if span := SPAN.fullmatch(name):
            low, high = span.groups()
            said = {"low": self.plain(low, _BARE), "high": self.plain(high or low, _BARE)}
            return known["span"].format(**said) if high else said["low"]
        if name in ("the rest", "other"):
            return known[name.removeprefix("the ")]
        if name.startswith("rest of "):
            return known["rest_of"].format(name=self.named(name.removeprefix("rest of ")))
        return self.said(self.labels[name]) if name in self.labels else self.named(name)

    @staticmethod
    def named(name: str) -> str:
        """A name that is written in capitals alone, in capitals and small letters."""
        if not name.isupper() or len(name) < 5:
            return name
        return " ".join(w if _ROMAN.fullmatch(w) else w.title() for w in name.split(" "))

    def where(self, found: dict[str, Any]) -> str:
        """Where a finding of ``fairness.verdict`` holds."""
        known = words(self.code)["where"]
        merged = ", ".join(self.named(self.group(name)) for name in found["merged"])
        said = {"group": self.group(found["group"]), "merged": merged}
        if found["group"] == "the rest" and merged:
            return elided(known["rest"].format(**said))
        if found["attribute"] in _LEVELS:
            return elided(known["level"].format(**said))
        said["label"] = self.label(found["attribute"])
        if CROSSED in found["attribute"] and CROSSED in found["group"]:
            pairs = zip(
                found["attribute"].split(CROSSED), found["group"].split(CROSSED), strict=True
            )
            said |= {
                f"{what}_{at}": self.group(text) if what == "group" else self.label(text)
                for at, pair in enumerate(pairs)
                for what, text in zip(("label", "group"), pair, strict=True)
            }
            return elided(known["crossed"].format(**said))
        if not found["ordered"]:
            return elided(known["text"].format(**said))
        return elided(known[found["place"] or "between"].format(**said))
