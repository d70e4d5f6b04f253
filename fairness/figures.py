"""Figures of a report as inline SVG: the same bytes everywhere, readable without colour.

Colours stand as attributes, for paper; classes of the same shapes let a page's style change them
for a dark screen. A figure shows what a table beside it says in numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, cos, floor, log10, radians

from markupsafe import Markup, escape

INK, FAINT = "#1c2430", "#66707d"
SERIES = ("#0b5cad", "#b3541e", "#66707d")
"""Colours of lines, in order; each line also has its own dashes."""
_DASHES = ("", "7 4", "2 3")
MARKS = {"fail": "#b3261e", "pass": "#1b7a43", "insufficient evidence": "#66707d"}
FILLS = ("#f3efe6", "#a9cbe8", "#2f78b7")
"""Areas with no sensor, with few, with several."""
SEVERAL = 3
_WIDTH, _ROW, _LEFT = 680, 26, 210
Numbers = Callable[[float], str]


@dataclass(frozen=True)
class Row:
    """A group in an interval plot."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    verdict: str


def interval_plot(
    title: str, rows: Sequence[Row], tolerated: float, tolerated_text: str, shown: Numbers
) -> Markup:
    """Each group's mark with its interval, beside zero and the tolerated line."""
    known = [v for row in rows for v in (row.value, row.low, row.high) if v is not None]
    low, high = min([0.0, *known]), max([tolerated, *known])
    pad = 0.06 * (high - low)
    low, high = low - pad, high + pad
    height = 34 + _ROW * len(rows) + 26

    def x(value: float) -> float:
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - 16)

    bottom = height - 26
    edge = x(tolerated)
    parts = [
        _line(x(0), 30, x(0), bottom, INK),
        _line(edge, 30, edge, bottom, MARKS["fail"], "5 4"),
        _text(edge, 22, tolerated_text, MARKS["fail"], _anchored(edge)),
    ]
    for tick in ticks(low, high):
        parts.append(_text(x(tick), height - 8, shown(tick), FAINT, "middle"))
        parts.append(_line(x(tick), bottom, x(tick), bottom + 5, FAINT))
    for at, row in enumerate(rows):
        y = 34 + _ROW * at + _ROW / 2
        parts.append(_text(_LEFT - 12, y + 4, _fit(row.name, 33), INK, "end"))
        if row.value is None:
            continue
        if row.low is not None and row.high is not None:
            parts.append(_line(x(row.low), y, x(row.high), y, INK, width=2))
        parts.append(_mark(x(row.value), y, row.verdict))
    return _figure(title, height, parts)


def _mark(x: float, y: float, verdict: str) -> str:
    """A diamond fails, a full circle passes, a ring is not enough evidence."""
    colour = MARKS[verdict]
    if verdict == "fail":
        corners = f"{x:.1f},{y - 8:.1f} {x + 8:.1f},{y:.1f} {x:.1f},{y + 8:.1f} {x - 8:.1f},{y:.1f}"
        return f'<polygon class="fail" points="{corners}" fill="{colour}"/>'
    fill = colour if verdict == "pass" else "#ffffff"
    name = "pass" if verdict == "pass" else "open"
    return (
        f'<circle class="{name}" cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{fill}" stroke="{colour}" '
        'stroke-width="2"/>'
    )


def line_plot(
    title: str,
    series: Sequence[tuple[str, Sequence[float]]],
    across: str,
    up: str,
    shown: Numbers,
) -> Markup:
    """Lines over leads, the first one thick; each is named at its end."""
    height, left, right, top, bottom = 280, 62, 190, 30, 44
    most = max(max(values) for _, values in series) * 1.05
    count = len(series[0][1])
    across_px = _WIDTH - left - right

    def point(at: int, value: float) -> tuple[float, float]:
        x = left + (at / max(count - 1, 1)) * across_px
        return x, top + (1 - value / most) * (height - top - bottom)

    base = height - bottom
    parts = [_line(left, base, _WIDTH - right, base, INK), _text(left, 16, up, FAINT, "start")]
    for tick in ticks(0, most):
        y = point(0, tick)[1]
        parts.append(_line(left, y, _WIDTH - right, y, "#d5d9de", name="grid"))
        parts.append(_text(left - 8, y + 4, shown(tick), FAINT, "end"))
    for lead in sorted({1, *range(6, count + 1, 6), count} if count > 6 else range(1, count + 1)):
        parts.append(_text(point(lead - 1, 0)[0], base + 18, str(lead), FAINT, "middle"))
    parts.append(_text(left + across_px / 2, height - 8, across, FAINT, "middle"))
    names = _apart([point(count - 1, values[-1])[1] for _, values in series], 18)
    for at, (name, values) in enumerate(series):
        places = [point(lead, value) for lead, value in enumerate(values)]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(
            f'<polyline class="line{at}" points="{points}" fill="none" stroke="{SERIES[at]}" '
            f'stroke-width="{3 if at == 0 else 2}" stroke-dasharray="{_DASHES[at] or "none"}"/>'
        )
        parts.append(
            _text(
                _WIDTH - right + 8, names[at] + 4, _fit(name, 28), SERIES[at], "start", f"name{at}"
            )
        )
    return _figure(title, height, parts)


def band_plot(
    title: str,
    rows: Sequence[tuple[str, Sequence[tuple[float, float]]]],
    shown: Numbers,
    nominal: str,
) -> Markup:
    """What share of values lay inside each promised band: a ring promises, a dot is what came."""
    height = 30 + 34 * len(rows) + 30

    def x(value: float) -> float:
        return _LEFT + value * (_WIDTH - _LEFT - 30)

    base = height - 30
    parts = [_text(_LEFT, 16, nominal, FAINT, "start")]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(_line(x(tick), 26, x(tick), base, "#d5d9de", name="grid"))
        parts.append(_text(x(tick), height - 10, shown(tick), FAINT, "middle"))
    for at, (name, pairs) in enumerate(rows):
        y = 30 + 34 * at + 17
        parts.append(_text(_LEFT - 12, y + 4, _fit(name, 33), INK, "end"))
        for promised, found in pairs:
            parts.append(_line(x(promised), y, x(found), y, SERIES[0], width=2, name="line0"))
            parts.append(_mark(x(promised), y, "insufficient evidence"))
            parts.append(
                f'<circle class="dot" cx="{x(found):.1f}" cy="{y:.1f}" r="5" fill="{SERIES[0]}"/>'
            )
    return _figure(title, height, parts)


def area_map(
    title: str,
    shapes: Sequence[tuple[str, int, Sequence[Sequence[Sequence[float]]]]],
    sensors: Sequence[Sequence[float]],
    names: Mapping[str, tuple[float, float]],
) -> Markup:
    """Areas shaded by how many sensors stand in them, and the sensors.

    Args:
        title: of the figure.
        shapes: name, sensors and rings [P, 2] in degrees of each area.
        sensors: [lon, lat, ...] of each.
        names: places [lon, lat] of names to write.
    """
    points = [p for _, _, rings in shapes for ring in rings for p in ring] + list(sensors)
    if not points:
        return Markup()
    west, east = min(p[0] for p in points), max(p[0] for p in points)
    south, north = min(p[1] for p in points), max(p[1] for p in points)
    narrow = cos(radians((south + north) / 2))
    wide, tall = max((east - west) * narrow, 1e-4), max(north - south, 1e-4)
    scale = min((_WIDTH - 32) / wide, 420 / tall)
    height = ceil(tall * scale) + 32

    def place(p: Sequence[float]) -> str:
        x = 16 + (p[0] - west) * narrow * scale + (_WIDTH - 32 - wide * scale) / 2
        return f"{x:.1f} {16 + (north - p[1]) * scale:.1f}"

    parts = []
    for name, count, rings in shapes:
        if not rings:
            continue
        path = "".join(f"M{'L'.join(place(p) for p in ring)}Z" for ring in rings)
        kind = 0 if count == 0 else 1 if count < SEVERAL else 2
        parts.append(
            f'<path class="area{kind}" d="{path}" fill="{FILLS[kind]}" fill-rule="evenodd" '
            f'stroke="#8a939e" stroke-width="0.7"><title>{escape(name)}: {count}</title></path>'
        )
    for p in sensors:
        x, y = place(p).split(" ")
        parts.append(
            f'<circle class="sensor" cx="{x}" cy="{y}" r="4" fill="#b3541e" stroke="#ffffff"/>'
        )
    for name, p in names.items():
        x, y = map(float, place(p).split(" "))
        x = min(max(x, 60), _WIDTH - 60)
        parts.append(_text(x, max(y - 10, 14), name, INK, "middle"))
    return _figure(title, height, parts)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from ``low`` to ``high``."""
    rough = (high - low) / most
    power = 10.0 ** floor(log10(rough))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough)
    first, last = ceil(low / step), floor(high / step)
    return [round(i * step, 10) for i in range(first, last + 1)]


def _figure(title: str, height: float, parts: Sequence[str]) -> Markup:
    return Markup(
        f'<svg role="img" viewBox="0 0 {_WIDTH} {height:g}" width="{_WIDTH}" height="{height:g}" '
        f'font-family="sans-serif" font-size="13" aria-label="{escape(title)}">'
        + "".join(parts)
        + "</svg>"
    )


def _line(
    x0: float,
    y0: float,
    x1: float,
    y1: float,
    colour: str,
    dashes: str = "",
    width: float = 1,
    name: str = "",
) -> str:
    kind = name or {INK: "ink", FAINT: "faint", MARKS["fail"]: "limit"}.get(colour, "")
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return (
        f'<line class="{kind}" x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" '
        f'stroke="{colour}" stroke-width="{width:g}"{dashed}/>'
    )


def _text(x: float, y: float, text: str, colour: str, anchor: str, name: str = "") -> str:
    kind = name or {INK: "t-ink", FAINT: "t-faint", MARKS["fail"]: "t-limit"}.get(colour, "")
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}">'
        f"{escape(text)}</text>"
    )


def _anchored(x: float) -> str:
    return "end" if x > _WIDTH - 110 else "middle"


def _fit(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _apart(places: Sequence[float], least: float) -> list[float]:
    """Places moved down until none is nearer to another than ``least``."""
    out = list(places)
    order = sorted(range(len(places)), key=lambda i: places[i])
    for before, after in pairwise(order):
        out[after] = max(out[after], out[before] + least)
    return out
