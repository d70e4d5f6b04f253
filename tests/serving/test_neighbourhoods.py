"""What people are told of where they live, and what they may write, on a server's own pages."""

import html
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from serving import cases as cases_module
from serving.api import create_app
from serving.cases import Cases
from serving.catalogue import Catalogue
from serving.gate.gate import Gate
from serving.gate.keys import Keys
from serving.gate.metrics import log
from serving.gate.rates import address_of
from serving.gate.rules import methods_of
from serving.neighbourhoods import pages
from serving.neighbourhoods.places import districts_of_city, outlines, readable
from serving.neighbourhoods.routes import HEADERS
from serving.neighbourhoods.speech import Speech
from serving.neighbourhoods.words import LANGUAGES, PATHS, WORDS
from serving.store import Store
from tests.fixtures.guarded import bearer, problem
from tests.fixtures.reported import audit, report, reported_home
from tests.fixtures.tiny import Tiny

WROTE = "Monday, seven o'clock: nothing was forecast."
EVIL = '<script>alert(1)</script><img src=x onerror=alert(2)> "quoted" {{ 7*7 }} &amp;'
CASE = {"dataset": "tiny", "area": "one", "subject": "wrong_here", "text": WROTE}


@pytest.fixture
def place(tiny: Tiny, tmp_path: Path) -> Path:
    return reported_home(tiny, tmp_path / "home")


@pytest.fixture
def held(store_place: str) -> Store:
    return Store(store_place)


def serve(place: Path, held: Store, **choices: Any) -> TestClient:
    """The pages behind a gate of their own, as people have them."""
    catalogue = Catalogue(place, held)
    app = create_app(catalogue)
    return TestClient(Gate(app, catalogue, methods_of(app.routes), **choices))


@pytest.fixture
def people(place: Path, empty_store: Store) -> TestClient:
    return serve(place, empty_store)


def words(text: str) -> str:
    """What a page says, without its tags."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def section(text: str, slug: str) -> str:
    return words(
        text.partition(f'<section class="place" id="{slug}"')[2].partition("</section>")[0]
    )


def opened(answer: Any) -> tuple[str, str]:
    """Number and code of a case that was taken."""
    assert answer.status_code == 200, words(answer.text)
    found = [re.search(rf'id="{name}">([^<]+)<', answer.text) for name in ("number", "code")]
    return found[0][1], found[1][1]


def test_each_neighbourhood_is_told_how_well_it_is_forecast(people: TestClient) -> None:
    text = people.get("/neighbourhoods").text
    one, two, three = (section(text, name) for name in ("one", "two", "three"))
    assert "off by 38 vehicles an hour, 12% of what is usual" in one
    assert "40% less than by assuming that last week repeats" in one
    assert "Worse here than elsewhere, surely: it errs 25% more (between 12% and 38%)" in one
    assert "only 80 times: it promises more than it keeps" in one
    assert "poor sensors may be why" in one
    assert "poor sensors" not in two
    assert "That is 1 for every 10,000 people; in the whole city 0.5" in one
    assert "We cannot tell: 9% better to 13% worse" in two
    assert "no better than assuming that last week" in two
    assert "highest hours are forecast too low" in two
    assert "Of 2 sensors 1 gave no value" in two
    assert "No sensor here: we do not know" in three
    assert "off by" not in three
    assert "The ethics board has not decided" in one


def test_italian_says_the_same_with_its_own_numbers(people: TestClient) -> None:
    one = section(people.get("/quartieri").text, "one")
    assert "sbaglia di 38 veicoli all’ora, il 12% di quanto è abituale" in one
    assert "di sicuro: sbaglia il 25% in più (tra il 12% e il 38%)" in one
    assert "Sono 1 ogni 10.000 abitanti; in tutta la città 0,5" in one


def test_without_a_report_nothing_is_made_up(client: TestClient) -> None:
    text = client.get("/neighbourhoods").text
    assert "no report on it by neighbourhood yet" in section(text, "one")
    assert "elsewhere" not in section(text, "one")


def test_a_few_days_are_called_that(tiny: Tiny, place: Path, empty_store: Store) -> None:
    thin = audit(days=29)
    for harm in thin["groupings"][0]["weighted"]["area"]["harms"]["error"]:
        harm.update(low=None, high=None, verdict="insufficient evidence")
    report(tiny.release, place, audit=thin)
    assert "tested on 29 days only" in section(
        serve(place, empty_store).get("/neighbourhoods").text, "one"
    )


def test_figures_of_several_together_are_called_that(tiny, place, empty_store) -> None:
    merged = audit()
    merged["groupings"][0]["groups"][0] |= {"name": "the rest", "merged": ["one", "three"]}
    report(tiny.release, place, audit=merged)
    text = serve(place, empty_store).get("/neighbourhoods").text
    assert "What follows is true of one and three together" in section(text, "one")
    assert "together" not in section(text, "two")


def test_people_are_told_of_how_many_floods_they_would_have_been_warned(
    tiny: Tiny, place: Path, empty_store: Store
) -> None:
    floods = {"rule": {"threshold": 2}, "score": {"events": 44, "hits": 43}}
    report(tiny.release, place, audit=audit(floods=floods))
    text = serve(place, empty_store).get("/neighbourhoods").text
    for slug in ("one", "three"):
        assert "alarm level 2 was passed 44 times during the test; 43 times" in section(text, slug)


def test_the_pages_run_nothing_load_nothing_and_keep_nothing(people: TestClient) -> None:
    for path in [path for pair in PATHS.values() for path in pair]:
        answer = people.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-security-policy"] == HEADERS["content-security-policy"]
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "set-cookie" not in answer.headers
        assert re.search(r"<script|<style|\son\w+=|\sstyle=|https?://", answer.text) is None
    assert "script-src" not in HEADERS["content-security-policy"]
    assert HEADERS["content-security-policy"].startswith("default-src 'none'")
    text = people.get("/neighbourhoods").text
    linked = re.findall(r'(?:href|src)="(/static/[^"]+)"', text)
    assert all(people.get(path).status_code == 200 for path in linked)
    assert len(linked) == 3


def test_which_neighbourhood_is_read_is_never_asked(people: TestClient, caplog) -> None:
    text = people.get("/neighbourhoods").text
    choosing = text.partition('id="choose"')[2].partition("</section>")[0]
    links = re.findall(r'href="([^"]*)"', choosing)
    assert {"#one", "#two", "#three"} <= set(links)
    assert all(link.startswith("#") for link in links)


def test_every_phrase_has_the_same_blanks_in_both_languages() -> None:
    for key, pair in WORDS.items():
        blanks = [sorted(re.findall(r"\{(\w+)\}", text)) for text in pair]
        assert blanks[0] == blanks[1], key
        assert all(pair), key


@pytest.mark.parametrize(
    ("value", "english", "italian"),
    [
        (38.3, "38", "38"),
        (1234.0, "1,230", "1.230"),
        (0.0651, "0.065", "0,065"),
        (9.96, "10", "10"),
        (1.25, "1.2", "1,2"),
        (0.0, "0.00", "0,00"),
    ],
)
def test_numbers_have_as_many_digits_as_people_read(value, english, italian) -> None:
    assert [Speech(language).number(value) for language in LANGUAGES] == [english, italian]


def test_a_part_of_a_metre_is_told_in_centimetres() -> None:
    assert Speech("en").amount(0.065, "m") == "6.5 centimetres"
    assert Speech("it").amount(1.5, "m") == "1,5 metri"
    assert Speech("en").amount(0.5, "kWh") == "0.5 kWh"


def test_the_city_is_whole_and_its_names_can_be_read() -> None:
    assert len(outlines()) == len(districts_of_city()) == 90
    assert readable("LAVINO DI MEZZO") == "Lavino di Mezzo"
    assert readable("OSPEDALE SANT'ORSOLA") == "Ospedale Sant'Orsola"
    assert readable("PIAZZA DELL'UNITA'") == "Piazza dell'Unità"
    assert readable("XXI APRILE") == "XXI Aprile"
    assert readable("Colle Alto") == "Colle Alto"


def test_a_case_is_opened_answered_and_followed(people: TestClient, empty_store: Store) -> None:
    number, code = opened(people.post(PATHS["write"][0], data=CASE))
    key = {"number": number, "code": code.lower()}
    mine = people.post(PATHS["follow"][0], data=key)
    assert WROTE in words(mine.text)
    assert "Not answered yet" in mine.text
    assert mine.headers["cache-control"] == "no-store"
    Cases(empty_store).answer(number, "Avete ragione.", "You are right.")
    assert "Avete ragione." in people.post(PATHS["follow"][1], data=key).text
    more = people.post(PATHS["follow"][0], data=key | {"text": "Once more.", "do": "add"})
    assert "Once more." in more.text
    assert 'state open">open<' in more.text
    gone = people.post(PATHS["follow"][0], data=key | {"do": "erase"})
    assert "Your words were deleted" in gone.text
    assert WROTE not in words(gone.text)
    public = words(people.get("/neighbourhoods").text)
    assert f"{number} open A forecast was wrong here: one, Vehicles passing" in public
    assert "You are right." in public
    assert WROTE not in public


def test_the_latest_cases_are_shown_and_how_many_there_are(people, empty_store, monkeypatch):
    monkeypatch.setattr(pages, "MOST_SHOWN", 2)
    for text in ("a", "b", "c"):
        Cases(empty_store).open("tiny", "", "other", text)
    text = people.get("/neighbourhoods").text
    assert re.findall(r"<li><b>\d+-(\d+)<", text) == ["0003", "0002"]
    assert "the latest 2 of 3" in text


def test_a_wrong_code_opens_nothing_and_says_no_more_than_a_wrong_number(people) -> None:
    number, _ = opened(people.post(PATHS["write"][0], data=CASE))
    (_, other) = opened(people.post(PATHS["write"][0], data=CASE))
    told = []
    for key in ((number, other), ("2020-0001", other), ("", ""), (number, "A" * 40)):
        answer = people.post(
            PATHS["follow"][0], data=dict(zip(("number", "code"), key, strict=True))
        )
        assert answer.status_code == 404
        assert WROTE not in words(answer.text)
        told.append(re.search(r'id="error">([^<]+)<', answer.text)[1])
    assert len(set(told)) == 1
    erased = people.post(PATHS["follow"][0], data={"number": number, "code": other, "do": "erase"})
    assert erased.status_code == 404


def test_html_in_a_text_is_text_everywhere(people: TestClient, empty_store: Store) -> None:
    number, code = opened(people.post(PATHS["write"][0], data=CASE | {"text": EVIL}))
    Cases(empty_store).answer(number, EVIL, EVIL)
    mine = people.post(PATHS["follow"][0], data={"number": number, "code": code})
    again = people.post(PATHS["write"][0], data=CASE | {"text": EVIL, "subject": "<b>"})
    asked = people.get(PATHS["write"][0], params={"area": EVIL, "dataset": EVIL, "text": EVIL})
    shown = [mine, again, asked, people.get("/neighbourhoods"), people.get("/quartieri")]
    for page in shown:
        assert "<script" not in page.text
        assert "<img" not in page.text
    for page in (shown[0], shown[1], shown[3]):
        assert html.escape(EVIL, quote=False)[:20] in page.text
        assert "{{ 7*7 }}" in html.unescape(page.text)


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"dataset": "none"}, 422, "Choose a forecast"),
        ({"area": "nowhere"}, 422, "not known here"),
        ({"subject": "spam"}, 422, "what it is about"),
        ({"text": ""}, 422, "between 1 and 2,000"),
        ({"text": "x" * 2001}, 422, "these are 2001"),
        ({"text": "x" * 40_000}, 413, "too much at once"),
        ({"text": "\u200b\x00"}, 422, "between 1 and 2,000"),
    ],
)
def test_what_does_not_fit_is_refused_and_what_was_written_stays(people, change, status, said):
    answer = people.post(PATHS["write"][0], data=CASE | change)
    assert answer.status_code == status
    assert said in words(answer.text)
    if "text" not in change:
        assert html.escape(WROTE)[:7] in answer.text
    assert opened(people.post(PATHS["write"][0], data=CASE))[0].endswith("-0001")


def test_a_post_from_another_site_is_refused(people: TestClient) -> None:
    elsewhere = {"sec-fetch-site": "cross-site"}
    answer = people.post(PATHS["write"][0], data=CASE, headers=elsewhere)
    assert answer.status_code == 403
    assert "another site" in words(answer.text)
    opened(people.post(PATHS["write"][0], data=CASE, headers={"sec-fetch-site": "same-origin"}))


def test_a_flood_of_cases_stops_for_one_address_and_for_all(
    place: Path, held: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = serve(place, held)
    answers = [people.post(PATHS["write"][0], data=CASE) for _ in range(7)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
    assert "nothing of what you wrote was kept" in words(answers[-1].text)
    monkeypatch.setattr(cases_module, "MOST_AN_HOUR", 6)
    others = serve(place, held)  # another worker, whose buckets are full
    more = [others.post(PATHS["write"][0], data=CASE).status_code for _ in range(2)]
    assert more == [200, 429]
    numbers = [case.number[-4:] for case in Cases(held).all()]
    assert numbers == [f"{place:04d}" for place in range(1, 7)]
    assert people.get("/neighbourhoods").status_code == 200


def test_addresses_that_one_customer_may_have_are_near_each_other() -> None:
    def near(address: str) -> str:
        return address_of((address, 1), four=24, six=56)

    assert near("10.0.0.1") == near("10.0.0.200") == near("::ffff:10.0.0.7")
    assert near("10.0.0.1") != near("10.0.1.1")
    assert near("2001:db8:1:100::1") == near("2001:db8:1:1ff::1")
    assert near("2001:db8:1:100::1") != near("2001:db8:1:200::1")
    assert near("a socket") == "a socket"


def test_neighbours_share_ten_cases_and_others_have_their_own(place: Path, held: Store) -> None:
    app = serve(place, held).app

    def write(address: str) -> int:
        person = TestClient(app, client=(address, 1))
        return person.post(PATHS["write"][0], data=CASE).status_code

    assert [write(f"198.51.100.{n}") for n in range(12)] == [200] * 10 + [429] * 2
    assert write("198.51.101.1") == 200
    assert write("2001:db8:1:100::1") == 200


def test_guessing_codes_is_slowed_down(people: TestClient) -> None:
    guess = {"number": "2026-0001", "code": "A" * 16}
    found = [people.post(PATHS["follow"][0], data=guess).status_code for _ in range(22)]
    assert found == [404] * 20 + [429] * 2


def test_words_are_for_those_who_operate(place: Path, held: Store) -> None:
    writer = Keys(held.engine).create("feed", "write")
    operating = bearer(Keys(held.engine).create("office", "operate"))
    people = serve(place, held)
    number, code = opened(people.post(PATHS["write"][0], data=CASE))
    problem(people.get("/v1/cases"), 401)
    problem(people.get("/v1/cases", headers=bearer(writer)), 403)
    mine = people.get("/v1/cases", headers=operating)
    (told,) = mine.json()["cases"]
    assert (told["number"], told["lines"][0]["text"]) == (number, WROTE)
    assert code.replace("-", "") not in mine.text
    answered = people.get("/v1/cases?state=answered", headers=operating)
    assert answered.json() == {"cases": []}


def test_where_nobody_reads_without_a_key_nobody_does(place: Path, empty_store: Store) -> None:
    mine = bearer(Keys(empty_store.engine).create("office", "operate"))
    closed = serve(place, empty_store, anonymous=False)
    for path in ("/neighbourhoods", "/reports/tiny/it", "/v1/datasets/tiny/report"):
        problem(closed.get(path), 401)
    problem(closed.post(PATHS["write"][0], data=CASE), 401)
    assert closed.get("/neighbourhoods", headers=mine).status_code == 200


def test_the_log_holds_no_neighbourhood_number_or_word(people: TestClient, caplog) -> None:
    caplog.set_level("INFO", log.name)
    number, code = opened(people.post(PATHS["write"][0], data=CASE | {"area": "two"}))
    people.get(PATHS["write"][0], params={"area": "two"})
    people.post(PATHS["follow"][0], data={"number": number, "code": code})
    assert len(caplog.messages) == 3
    for line in caplog.messages:
        assert '"status":200' in line
        assert "/neighbourhoods" in line
        for secret in ("two", number, code, WROTE, "testclient"):
            assert secret not in line
