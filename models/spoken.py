"""Days and numbers within sentences, in Italian and in English."""

from __future__ import annotations

import re
from datetime import date

_MONTHS = {
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre "
    "dicembre",
    "en": "January February March April May June July August September October November December",
}
_BEFORE_A_VOWEL = re.compile(r"\b(?:[Ii]|[Dd]e|[Aa]|[Nn]e|[Dd]a|[Ss]u)l (?=8|11(?!\d)|1(?![\d.°]))")
"""An article before a number that is spoken otto-, undici or uno; 1.000 is mille."""


def spoken_day(text: str, language: str) -> str:
    """An ISO day or time as people write a day.

    Args:
        text: begins with year, month and day.
        language: ``it`` or ``en``.
    """
    found = date.fromisoformat(text[:10])
    first = "°" if language == "it" and found.day == 1 else ""
    return f"{found.day}{first} {_MONTHS[language].split()[found.month - 1]} {found.year}"


def elided(text: str) -> str:
    """An Italian sentence with its articles as they stand before the numbers in it: l’11%."""
    return _BEFORE_A_VOWEL.sub(lambda found: _elision(found[0].strip()), text)


def _elision(article: str) -> str:
    return {"il": "l’", "Il": "L’"}.get(article, f"{article}l’")
