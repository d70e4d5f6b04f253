"""Sentences as people say them."""

import pytest

from models.spoken import elided, spoken_day


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("sbaglia il 11% in più", "sbaglia l’11% in più"),
        ("sbaglia il 8,5% in più", "sbaglia l’8,5% in più"),
        ("più del 80% e meno del 81%", "più dell’80% e meno dell’81%"),
        ("Il 1% dei residenti", "L’1% dei residenti"),
        ("dal 8 al 11 maggio, nel 8.000", "dall’8 all’11 maggio, nell’8.000"),
        ("sul 1,5%", "sull’1,5%"),
    ],
)
def test_an_article_before_otto_undici_and_uno_is_elided(written: str, said: str) -> None:
    assert elided(written) == said


@pytest.mark.parametrize(
    "text",
    ["il 1.000", "il 12%", "del 110%", "il 1° maggio", "al 111", "i del 7", "april 8", "for 8"],
)
def test_others_are_not(text: str) -> None:
    assert elided(text) == text


def test_days_are_written_out() -> None:
    assert spoken_day("2026-05-01T10:00:00Z", "it") == "1° maggio 2026"
    assert spoken_day("2026-05-01", "en") == "1 May 2026"
    assert spoken_day("2026-11-26", "it") == "26 novembre 2026"
