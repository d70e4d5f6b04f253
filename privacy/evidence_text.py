"""The evidence of a private release as one page, the whole in English and then in Italian."""

from __future__ import annotations

from typing import Any, get_args

from privacy.entries import Unit
from privacy.evidence_words import PAGE_EN, PAGE_IT, PageWords
from privacy.units import NODE_UNITS

_CELL = str.maketrans("|<>[]`*", "/()()'·")
"""A name must not end a cell, nor be read as markup."""


def rendered(evidence: dict[str, Any]) -> str:
    """Markdown of what ``evidence`` returns.

    Args:
        evidence: with ``of`` beside it: ``dataset``, ``run`` and ``model_sha256`` of the release,
            and of a federation's the ``partner`` that was audited.
    """
    english, italian = (_page(evidence, words) for words in (PAGE_EN, PAGE_IT))
    link = f"*In italiano: [{PAGE_IT.title}](#{PAGE_IT.title.lower().replace(' ', '-')}).*"
    return "\n\n".join([english[0], link, *english[1:], "---", *italian]) + "\n"


def verdict(audit: dict[str, Any]) -> str:
    """``refuted``, ``weak`` where nothing could have been refuted, or ``kept``."""
    if audit["contradicts"]:
        return "refuted"
    return "kept" if audit["could_contradict"] else "weak"


def _page(evidence: dict[str, Any], words: PageWords) -> list[str]:
    """Paragraphs in one language."""
    of, audit, statement = evidence["of"], evidence["audit"], evidence["statement"]
    language = "it" if words is PAGE_IT else "en"
    one, _ = words.said.units[_unit(evidence["settings"]["unit"])]
    found = verdict(audit)
    limits = [f"- {line}" for line in statement[f"not_protected_{language}"]]
    about = words.about.format(dataset=_text(of["dataset"]), run=_text(of["run"]), one=one)
    if "partner" in of:
        about += " " + words.federated.format(partner=_text(of["partner"]))
    return [
        f"# {words.title}",
        about,
        words.verdicts[found],
        f"## {words.promise}",
        statement[language],
        f"## {words.limits}",
        "\n".join(limits),
        f"## {words.test}",
        *_test(evidence, words, found),
        f"## {words.cost}",
        *_cost(evidence, words),
        f"## {words.experts}",
        "\n".join(f"- {line}" for line in _figures(evidence, words)),
    ]


def _test(evidence: dict[str, Any], words: PageWords, found: str) -> list[str]:
    audit, settings = evidence["audit"], evidence["settings"]
    guessed = audit["white_box"]
    number, steps = words.said.number, evidence["mechanism"]["steps"]
    _, many = words.said.units[_unit(audit["unit"])]
    said = {
        "many": many,
        "units": number(audit["units"]),
        **{name: number(guessed[name]) for name in ("canaries", "guesses", "right")},
        "half": number(guessed["guesses"] // 2),
        "refuting": "" if audit["right_to_refute"] is None else number(audit["right_to_refute"]),
        "steps": number(steps),
        "planned": number(settings["steps"]),
    }
    parts = [words.how]
    parts += [words.by_day] if audit["unit"] != settings["unit"] else []
    parts += [words.partly] if steps < settings["steps"] else []
    return [text.format(**said) for text in (" ".join(parts), words.outcomes[found], words.means)]


def _cost(evidence: dict[str, Any], words: PageWords) -> list[str]:
    errors = evidence["errors"]
    if errors is None:
        return [words.no_errors]
    unit = evidence["settings"]["unit"]
    many = words.said.units[_unit(unit)][1] if unit in NODE_UNITS else words.places
    number = words.said.number
    told = words.errors.format(unit=_text(errors["unit"]), origins=number(errors["origins"]))
    least = f"{number(errors['least_group'])} {many}"
    left = words.suppressed.format(least=least, suppressed=number(errors["suppressed"]))
    if not errors["groups"]:
        return [told, left]
    group = words.area if errors["attribute"] == "area" else _text(errors["attribute"])
    rows = [*errors["groups"], {**errors["overall"], "group": words.together}]
    heads = [group, *(column.format(many=many) for column in words.columns)]
    table = [f"| {' | '.join(heads)} |", "| --- | ---: | ---: | ---: | ---: |"]
    for row in rows:
        noisy, bare = row["with_noise"], row["without_noise"]
        more = f"{100 * (noisy / bare - 1):+.0f} %" if bare else "-"
        cells = [_text(row["group"]), number(row["units"]), _figure(noisy, words)]
        table.append(f"| {' | '.join([*cells, _figure(bare, words), more])} |")
    return [told, left, "\n".join(table)]


def _figures(evidence: dict[str, Any], words: PageWords) -> list[str]:
    """One line each, for who knows what epsilon is."""
    settings, mechanism, audit = (evidence[n] for n in ("settings", "mechanism", "audit"))
    white, auc = audit["white_box"], evidence["membership_auc"]
    said: dict[str, Any] = {name: _figure(value, words) for name, value in white.items()}
    said |= {name: words.said.number(white[name]) for name in ("canaries", "guesses", "right")}
    said |= {name: _figure(evidence["epsilon"][name], words) for name in ("pld", "prv", "rdp")}
    said |= {
        "unit": words.said.units[_unit(settings["unit"])][0],
        "steps": words.said.number(mechanism["steps"]),
        "noise": _figure(mechanism["noise_multiplier"], words),
        "rate": _figure(mechanism["sampling_rate"], words),
        "clip": _figure(settings["clip_norm"], words),
        "confidence": f"{white['confidence']:.0%}",
        "claimed": _figure(white["claim"], words),
        "pattern": audit["pattern"],
        "seed": audit["seed"],
        "white": _figure(round(auc["white_box"], 3), words),
        "black": _figure(round(auc["black_box"], 3), words),
        "sha256": evidence["of"]["model_sha256"],
    }
    return [text.format(**said) for text in words.figures.values()]


def _figure(value: float, words: PageWords) -> str:
    """A number to four figures, as the language writes it."""
    return f"{value:.4g}".replace(".", words.decimal)


def _unit(name: str) -> Unit:
    """A unit's name, as the words know it."""
    return next(unit for unit in get_args(Unit) if unit == name)


def _text(name: str) -> str:
    """A name on one line, without markup."""
    return "".join(c if c.isprintable() else " " for c in name).translate(_CELL) or "-"
