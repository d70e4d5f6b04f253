"""The pages of a board's report: they say what the record says, and stand by themselves."""

from __future__ import annotations

import copy
import re
from itertools import product

import pytest
from lxml import html as lxml_html

from fairness.language import Language, words
from fairness.report import ANNEX, PAGES, annex_gaps, render
from tests.fixtures.reports import (
    first_page,
    gathered,
    held_back,
    rejudged,
    rich,
    whole_page,
    with_a_fail,
)
from tests.fixtures.tiny import Tiny

LANGUAGES = ("it", "en")


@pytest.fixture(scope="module")
def record(tiny: Tiny, tmp_path_factory):
    return gathered(tiny, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def everything(record):
    return rich(record)


def found(tree, *tags: str):
    return [element for element in tree.iter() if element.tag in tags]


@pytest.mark.parametrize("kind", ["", "surrogate"])
def test_both_languages_say_the_same_things(kind: str):
    italian, english = words("it", kind), words("en", kind)
    assert italian.keys() == english.keys()
    for section in italian:
        assert italian[section].keys() == english[section].keys(), section
        for name, text in italian[section].items():
            if isinstance(text, str):
                fields = [sorted(re.findall(r"{(\w+)}", t)) for t in (text, english[section][name])]
                assert fields[0] == fields[1], (section, name)


@pytest.mark.parametrize(("page", "language"), product(PAGES, LANGUAGES))
def test_a_page_is_whole_and_asks_for_nothing(everything, page: str, language: str):
    text = render(everything, page, language)
    whole_page(text, language)
    assert "<script>alert" not in text


def test_every_figure_has_its_numbers_beside_it(everything):
    tree = lxml_html.fromstring(render(everything, "report", "en"))
    figures = found(tree, "figure")
    assert len(figures) > 3
    for figure in figures:
        (picture,) = found(figure, "svg")
        assert picture.get("role") == "img"
        assert picture.get("aria-label")
        section = figure.xpath("ancestor::section[1]")[0]
        assert found(section, "table")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_planted_fail_shows_on_page_one(record, language: str):
    before = first_page(render(record, "report", language))
    after = first_page(render(with_a_fail(record), "report", language))
    known = words(language)
    assert known["state"]["unfair"] not in before
    assert known["state"]["unfair"] in after
    assert "37%" not in before
    assert known["harm"]["error"].format(by="37%") in after
    assert known["sure"]["fail"].format(tolerated="10%") in after
    assert with_a_fail(record)["verdict"]["worse"][0]["group"] == "one"


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_missing_is_on_page_one_and_nothing_is_signed_then(record, language: str):
    lacking = copy.deepcopy(record)
    del lacking["about"]["risks"]
    lacking = rejudged(lacking | {"missing": ["risks"]})
    text = first_page(render(lacking, "report", language))
    assert words(language)["about"]["risks"] in text
    assert words(language)["state"]["incomplete"] in text
    assert "board sign" not in text
    whole = first_page(render(record, "report", language))
    assert f"felsina board sign {record['release']} --key FILE --approve" in whole


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_the_gate_holds_back_is_on_page_one(record, language: str):
    known, lacking = words(language), record | {"gate": held_back(record["gate"])}
    met = copy.deepcopy(record)
    met["gate"]["rules"][2]["verdict"] = met["gate"]["state"] = "pass"
    before, after = (first_page(render(r, "report", language)) for r in (met, lacking))
    assert f"{known['gate']['title']} {known['gate']['pass']}" in before
    assert "despite" not in before
    failed = Language(language, {}).percent(-0.021, True)
    assert f"{known['gate']['fail']} {known['gate_rules']['skill']} {failed}" in after
    for rule in ("skill", "groups"):
        assert f'--conditions "despite {rule}: …"' in after
    assert known["gate"]["served"].format(model="", days=record["gate"]["days"]) in after
    table = lxml_html.fromstring(render(lacking, "report", language)).get_element_by_id(
        "performance"
    )
    assert known["gate_asked"]["groups"] in table.text_content()
    for verdict in ("pass", "fail", "none"):
        assert known["gate_verdicts"][verdict] in table.text_content()


def test_the_verdict_follows_the_record(record):
    assert record["verdict"]["state"] == "thin"
    thin = with_a_fail(record)
    thin["audit"]["evidence"]["thin"] = True
    assert rejudged(thin)["verdict"]["state"] == "thin"
    sound = copy.deepcopy(record)
    sound["audit"]["evidence"] |= {"thin": False, "why": []}
    for grouping in sound["audit"]["groupings"]:
        for judged in grouping["weighted"].values():
            for harm in judged["harms"].values():
                for one in harm:
                    one |= {"worse_by": 0.0, "low": -0.01, "high": 0.01, "verdict": "pass"}
    assert rejudged(sound)["verdict"]["state"] == "sound"
    bad = copy.deepcopy(sound)
    bad["performance"]["models"]["felsina"]["mae"] *= 100
    assert rejudged(bad)["verdict"]["state"] == "worse"
    assert rejudged(with_a_fail(bad))["verdict"]["state"] == "unfair"


def test_the_annex_lists_what_nobody_filled(record):
    assert annex_gaps(record) == ["2c", "5", "7", "8"]
    told = copy.deepcopy(record)
    told["about"]["electricity"] = {"kwh": 1.5, "source": {"it": "contatore", "en": "meter"}}
    assert annex_gaps(told) == ["5", "7", "8"]
    assert "1.50 kWh" in render(told, "annex-iv", "en")
    assert "1,50 kWh" in render(told, "annex-iv", "it")
    del told["about"]["security"]
    assert annex_gaps(told) == ["2h", "5", "7", "8"]
    tree = lxml_html.fromstring(render(told, "annex-iv", "en"))
    assert [section.get("id") for section in found(tree, "section")] == [f"p{p}" for p in ANNEX]
    for point in ANNEX:
        section = tree.get_element_by_id(f"p{point}")
        assert bool(section.find_class("absent")) is (point in annex_gaps(told))


def test_numbers_days_and_groups_are_said_as_people_do():
    labels = {"income": {"it": "il reddito", "en": "income"}}
    italian, english = Language("it", labels), Language("en", labels)
    assert italian.number(1234.5, 5) == "1.234,5"
    assert english.number(1234.5, 5) == "1,234.5"
    assert english.number(0.01234) == "0.0123"
    assert italian.percent(-0.076) == "\u22128%"
    assert italian.percent(0.004, signed=True) == "+0,4%"
    assert english.percent(0.9961) == "99.6%"
    assert english.percent(-0.0001) == "0%"
    assert italian.day("2024-03-01T00:00:00Z") == "1° marzo 2024"
    assert english.group("18600 to 19800") == "18,600 to 19,800"
    assert italian.group("1875 to 1930") == "da 1875 a 1930"
    assert italian.group("rest of BORGO PANIGALE") == "resto di Borgo Panigale"
    assert english.named("XXI APRILE") == "XXI Aprile"
    told = {"attribute": "income", "group": "10 to 20", "merged": [], "ordered": True}
    assert english.where(told | {"place": "lowest"}) == "Where income is lowest (10 to 20)"
    assert italian.where(told | {"place": None}) == "Dove il reddito è da 10 a 20"
    crossed = {"attribute": "income x age", "group": "1 to 2 x 3", "merged": [], "ordered": False}
    assert english.where(crossed) == "Where income is 1 to 2 and age is 3"


@pytest.mark.parametrize("language", LANGUAGES)
def test_on_paper_the_first_page_is_one_page(everything, record, language: str):
    weasyprint = pytest.importorskip("weasyprint")
    for told in (record, everything):
        pages = weasyprint.HTML(string=render(told, "report", language)).render().pages
        assert "identity" in pages[1].anchors
        assert 4 < len(pages) < 20


def test_a_pdf_is_tagged_and_the_same_each_time(record):
    pdf = pytest.importorskip("fairness.pdf")
    text = render(record, "card", "it")
    first = pdf.to_pdf(text)
    assert first.startswith(b"%PDF-")
    assert first == pdf.to_pdf(text)
    assert first != pdf.to_pdf(text.replace("Testo di", "Testi di"))
    with pytest.raises(ValueError, match="nothing comes from elsewhere"):
        pdf.refuse("http://127.0.0.1/x.png")


def test_what_noise_costs_each_group_is_told_of_a_private_release(record, everything):
    private = render(everything, "report", "en")
    assert "Epsilon 4.00, delta 0.0001, for each household of hera" in private
    assert "Error with noise (kWh)" in private
    assert "Error with noise" not in render(record, "report", "en")
