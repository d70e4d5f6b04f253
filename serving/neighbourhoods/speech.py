"""Figures as sentences that anyone can read, in one of two languages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from models.spoken import elided, spoken_day
from serving.neighbourhoods.places import Entry, Group, Served, readable
from serving.neighbourhoods.words import LANGUAGES, PATHS, SPANS, UNITS, WORDS

PROMISED, NEAR = 0.9, 0.02
"""Share of the values that the 90 % range holds, and what counts as that."""
_SURELY = {
    "relative_error": "share_fail",
    "under_coverage": "range_fail",
    "peak_shortfall": "peak_fail",
}
"""Harms that are told of only where they are sure, and what is said then."""


@dataclass(frozen=True)
class Speech:
    """One of the two languages.

    Attributes:
        language: ``en`` or ``it``.
    """

    language: str

    @property
    def column(self) -> int:
        """Which of each pair."""
        return LANGUAGES.index(self.language)

    def say(self, key: str, **values: Any) -> str:
        """A phrase, filled in."""
        return elided(WORDS[key][self.column].format(**values))

    def path(self, page: str) -> str:
        """Where a page lies."""
        return PATHS[page][self.column]

    def number(self, value: float, digits: int = 2) -> str:
        """A number of so many digits that count; whole from 10 on."""
        if abs(value) >= 10:
            keep = 10 ** max(0, len(str(int(abs(value)))) - digits - 1)
            text = f"{round(value / keep) * keep:,}"
        else:
            text = f"{value:.{digits}g}" if abs(value) >= 0.01 else f"{value:.{digits}f}"
        return text if self.language == "en" else text.translate(str.maketrans(",.", ".,"))

    def percent(self, share: float) -> str:
        """A share as people write it."""
        whole = self.number(100 * abs(share), 1) if abs(share) < 0.01 else f"{100 * abs(share):.0f}"
        return f"{whole}%"

    def amount(self, value: float, unit: str) -> str:
        """A number with its unit; a part of a metre in centimetres."""
        if unit == "m" and abs(value) < 1:
            value, unit = 100 * value, "cm"
        return f"{self.number(value)} {UNITS.get(unit, (unit, unit))[self.column]}"

    def day(self, text: str) -> str:
        """A day such as ``2026-11-26`` in words."""
        return spoken_day(text, self.language)

    def step(self, seconds: int) -> str:
        """What a value comes every: hour, 30 minutes."""
        size, *names = next((s for s in SPANS if seconds % s[0] == 0), SPANS[-1])
        many, one = seconds // size, names[self.column]
        return one[0] if many == 1 else f"{many} {one[1]}"

    def span(self, seconds: int) -> str:
        """A length of time in the largest unit of which it has two: 24 hours, 3 days."""
        size, *names = next((s for s in SPANS if seconds >= 2 * s[0]), SPANS[-1])
        return f"{self.number(seconds / size)} {names[self.column][1]}"

    def target(self, served: Served) -> str:
        """What a dataset forecasts, in words; what is not known here keeps its own name."""
        name = served.spec.target
        return self.say(name) if name in WORDS else name.replace("_", " ").capitalize()

    def entry(self, entry: Entry) -> list[str]:
        """All that is told of a dataset at a neighbourhood."""
        spec, served = entry.served.spec, entry.served
        ahead = self.span(spec.horizon * spec.seconds)
        said = [self.say("every_ahead", step=self.step(spec.seconds), span=ahead)]
        if not entry.sensors:
            return [*said, self.say("no_sensor"), *self._warnings(served)]
        one = "sensors_one" if entry.sensors == 1 else "sensors_many"
        said += [self.say(one, n=entry.sensors), *self._rate(entry)]
        if served.audit is None:
            return [*said, self.say("no_report"), self._city(served)]
        if (group := entry.group) is None:
            return [*said, self.say("too_few"), self._city(served), *self._warnings(served)]
        if merged := group.record["merged"]:
            said.append(self.say("together", names=self._listed([*map(readable, merged)])))
        elif not entry.alone:
            said.append(self.say("district", name=readable(group.record["name"])))
        said += [*self._figures(group, spec.unit), *self._harms(group, served)]
        return said + self._warnings(served)

    def _rate(self, entry: Entry) -> list[str]:
        """Sensors by people, beside the whole city's, and those that gave nothing."""
        said, own, city = [], entry.covered or {}, entry.served.per_10000
        if own.get("per_10000") is not None and city is not None and not own["merged"]:
            rates = {"here": self.number(own["per_10000"]), "all": self.number(city)}
            said.append(self.say("per_people", **rates))
        if own.get("silent") and not own["merged"]:
            said.append(self.say("silent", n=own["silent"], all=own["sensors"]))
        return said

    def _warnings(self, served: Served) -> list[str]:
        """Of how many floods people were warned, in the whole city."""
        floods = (served.audit or {}).get("floods")
        if not floods or not floods["score"]["events"]:
            return []
        score, level = floods["score"], floods["rule"]["threshold"]
        return [self.say("warned", k=level, n=score["events"], hits=score["hits"])]

    def _listed(self, names: list[str]) -> str:
        last = (" and ", " e ")[self.column]
        return last.join(filter(None, (", ".join(names[:-1]), names[-1])))

    def _city(self, served: Served) -> str:
        return self.say("whole_city", error=self.amount(served.mae, served.spec.unit))

    def _figures(self, group: Group, unit: str) -> list[str]:
        """How far off, how much better than guessing, and whether ranges hold."""
        found, said = group.figures, []
        if (mae := found.get("mae")) is not None:
            off = self.say("off_by", error=self.amount(mae, unit))
            wape = found.get("wape")
            said.append(off + (self.say("off_share", share=self.percent(wape)) if wape else "."))
        if said and (skill := found.get("skill")) is not None:
            key = "easier" if skill >= 0.01 else "no_easier"
            said.append(self.say(key, share=self.percent(skill)))
        if (held := found.get("coverage_90")) is not None:
            far = "range_less" if held < PROMISED else "range_more"
            key = "range_as" if abs(held - PROMISED) <= NEAR else far
            said.append(self.say(key, n=round(100 * held)))
        return said

    def _harms(self, group: Group, served: Served) -> list[str]:
        """Better or worse than elsewhere, and what else is surely worse."""
        said = []
        if "error" in group.harms:
            said.append(self._beside(group.harms["error"], (served.audit or {})["days"]))
        for harm, key in _SURELY.items():
            if group.harms.get(harm, {}).get("verdict") == "fail":
                said.append(self.say(key))
        return said

    def _beside(self, harm: dict[str, Any], days: int) -> str:
        """Better or worse than elsewhere, and how sure that is."""
        by, low, high = harm["worse_by"], harm["low"], harm["high"]
        if by is None or low is None or high is None:
            return self.say("beside_days", days=days)
        parts = {"by": by, "low": low, "high": high, "limit": harm["tolerated"]}
        words = {name: self.percent(value) for name, value in parts.items()}
        if harm["verdict"] == "fail":
            return self.say("beside_worse", **words)
        if low > 0:
            return self.say("beside_somewhat", **words)
        if high < 0:
            return self.say("beside_better", **words)
        if harm["verdict"] == "pass":
            return self.say("beside_same", **words)
        ends = (("less_by", "low"), ("more_by", "high"))
        better, worse = (self.say(key, by=words[end]) for key, end in ends)
        return self.say("beside_unsure", better=better, worse=worse)

    def board(self, served: Served) -> str:
        """What the board decided, and until when."""
        approval = served.release.approval
        if approval.expires is None or approval.state != "approved":
            return self.say(f"board_{approval.state}")
        return self.say("board_until", day=self.day(approval.expires))

    def conditions(self, served: Served) -> str:
        """What the board wants besides; empty where it wants nothing."""
        wanted = "; ".join(text.rstrip(". ") for text in served.release.approval.conditions)
        return self.say("board_on", conditions=wanted) if wanted else ""

    def tested(self, served: Served) -> str:
        """When the forecasts were tested."""
        data = served.release.manifest["data"]
        audit = served.audit or {"from": data["validation_end"], "to": data["end"]}
        return self.say("tested", begin=self.day(audit["from"]), end=self.day(audit["to"]))
