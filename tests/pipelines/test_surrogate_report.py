"""A surrogate's report: from its sealed folder, the same each time, and what a board signs."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from fairness.about import OPTIONAL_OF_SURROGATES, About, read_about
from fairness.language import words
from fairness.report import ANNEX, PAGES, annex_gaps, render
from fairness.surrogates import surrogate_verdict
from models.board import APPROVE
from models.contracts import FelsinaError
from models.record import canonical_json
from models.stream import utc_now
from pipelines import domains
from pipelines.board import BOARD, docket, promote, sign
from pipelines.commands import report as command
from pipelines.commands.board_text import case_lines
from pipelines.present import RECORD, about_file, reports
from pipelines.report import Inputs, build, gather, verify
from serving.release import REPORT
from tests.fixtures.boards import FAR, seats
from tests.fixtures.greenhouse import NAMES, SPEC, Sealed
from tests.fixtures.reports import about_toml, first_page, whole_page
from tests.fixtures.tiny import ROOT, Tiny

LANGUAGES = ("it", "en")
PARTS = set(About.model_fields) - set(OPTIONAL_OF_SURROGATES)
SHIPPED = {"buildings": "energy", "plain": "flood", "acosta": "traffic"}


@pytest.fixture
def about(tmp_path: Path) -> Path:
    """Every human-written part."""
    path = tmp_path / "about.toml"
    path.write_text(about_toml())
    return path


@pytest.fixture
def inputs(sealed: Sealed, about: Path) -> Inputs:
    return Inputs(sealed.release, about=about)


@pytest.fixture
def record(inputs: Inputs):
    return gather(inputs)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_built_twice_is_the_same_to_the_byte_and_names_no_place(inputs: Inputs, tmp_path: Path):
    first, _ = build(inputs, tmp_path / "a")
    moved = shutil.copytree(inputs.release, tmp_path / "else" / inputs.release.name)
    second, _ = build(replace(inputs, release=moved), tmp_path / "b")
    assert files(first) == files(second)
    pages = {f"{page}.{language}.html" for page, language in product(PAGES, LANGUAGES)}
    assert set(files(first)) == {RECORD, *pages}
    for content in files(first).values():
        assert str(tmp_path).encode() not in content
        assert str(inputs.release.parent).encode() not in content


def test_it_is_what_its_schema_says(record):
    path = ROOT / "docs" / "report.surrogate.schema.json"
    schema = Draft202012Validator(json.loads(path.read_bytes()))
    schema.validate(record)
    for name in record:
        assert not schema.is_valid({key: value for key, value in record.items() if key != name})
    assert not schema.is_valid(record | {"more": 1})


def test_it_is_verified_and_every_change_is_named(inputs: Inputs, tmp_path: Path):
    folder, record = build(inputs, tmp_path)
    assert verify(inputs, tmp_path) == (folder, [])
    kept = files(folder)
    record["tests"]["all"]["runs"] = 7
    (folder / RECORD).write_bytes(canonical_json(record))
    assert {"tests.all", "report.en.html"} <= set(verify(inputs, tmp_path)[1])
    (folder / RECORD).write_bytes(kept[RECORD])
    (folder / "card.it.html").write_bytes(kept["card.it.html"].replace(b"Testo", b"Testi", 1))
    assert verify(inputs, tmp_path)[1] == ["card.it.html"]
    assert set(verify(replace(inputs, about=None), tmp_path)[1]) > {"missing", "about.purpose"}


def test_what_was_sealed_is_what_is_told(sealed: Sealed, record):
    report = json.loads((sealed.release / REPORT).read_bytes())
    assert record["tests"].keys() == report["tests"].keys() == {"strong wind", "all"}
    for name, test in record["tests"].items():
        assert test["runs"] == NAMES[name]
        for output, errors in test["outputs"].items():
            told = report["tests"][name]["outputs"][output]
            assert {key: told[key] for key in errors.keys() & told.keys()}.items() <= errors.items()
            assert errors["share"] == pytest.approx(told["mae"] / told["mean"], rel=1e-5)
    asked = record["asked"]["scalars"] + record["asked"]["fields"]
    assert [(one["name"], one["low"], one["high"]) for one in asked] == [
        (one.name, one.low, one.high) for one in (*SPEC.scalars, *SPEC.fields)
    ]


def test_every_part_that_nobody_wrote_is_listed(inputs: Inputs, about: Path):
    assert gather(inputs)["missing"] == []
    for name in ("simulator", "risks", "contact"):
        about.write_text(about_toml(name))
        record = gather(inputs)
        assert record["missing"] == [name]
        assert record["verdict"]["state"] == "incomplete"
        assert words("en", "surrogate")["about"][name] in first_page(render(record, "report", "en"))
        assert "board sign" not in first_page(render(record, "report", "en"))
    about.write_text(about_toml("legal_basis"))
    assert gather(inputs)["missing"] == []
    assert set(gather(replace(inputs, about=None))["missing"]) == PARTS


def test_the_headline_follows_the_tests(record):
    held = copy.deepcopy(record)
    for test in held["tests"].values():
        for errors in test["outputs"].values():
            errors |= {"coverage_80": 0.8, "r2": 0.99}
    assert surrogate_verdict(held)["state"] == "sound"
    held["tests"]["all"]["outputs"]["warmth_k"] |= {"coverage_80": 0.74, "share": 0.9}
    found = surrogate_verdict(held)
    place = {"test": "all", "output": "warmth_k"}
    assert (found["state"], found["loose"]) == ("loose", [place])
    assert found["farthest"] == place | {"share": 0.9}
    text = first_page(render(held | {"verdict": found}, "report", "en"))
    assert "◆ too few: 74%" in text
    assert "90% of what the simulator answers" in text
    held["tests"]["all"]["outputs"]["warmth_k"]["r2"] = -0.1
    assert surrogate_verdict(held)["state"] == "blind"
    held["tests"]["all"]["runs"] = 12
    assert surrogate_verdict(held)["few"] == ["all"]
    none = surrogate_verdict(held | {"tests": {}})
    assert (none["state"], none["farthest"]) == ("untested", None)
    for page, language in product(PAGES, LANGUAGES):
        render(held | {"tests": {}, "verdict": none}, page, language)


@pytest.mark.parametrize(("page", "language"), product(PAGES, LANGUAGES))
def test_a_page_is_whole_and_asks_for_nothing(record, page: str, language: str):
    tree = whole_page(render(record, page, language), language)
    known = words(language, "surrogate")
    assert known["doc"]["areas_not_persons"] in tree.text_content()
    if page == "annex-iv":
        for point in ANNEX:
            section = tree.get_element_by_id(f"p{point}")
            assert bool(section.find_class("absent")) is (point in annex_gaps(record))


@pytest.mark.parametrize("language", LANGUAGES)
def test_on_paper_the_first_page_is_one_page(record, language: str):
    """Of a surrogate with as many tests and answers, and as much written, as the largest has."""
    weasyprint = pytest.importorskip("weasyprint")
    about = read_about(about_file("energy", "buildings")).to_dict()
    names = [name for name in about["labels"] if name.endswith(("_m2", "_h", "_kwh_m2"))][:5]
    errors = record["tests"]["all"]["outputs"]["warmth_k"] | {"coverage_80": 0.7, "mae": 0.0123}
    tests = ("archetypes", "archetypes in unseen climates", "climates")
    full = record | {
        "about": about,
        "answers": [{"name": name, "unit": "kWh/m2", "about": "Heat."} for name in names],
        "tests": {test: {"runs": 384, "outputs": dict.fromkeys(names, errors)} for test in tests},
    }
    full["verdict"] = surrogate_verdict(full)
    assert len(names) == 5
    assert (full["verdict"]["state"], len(full["verdict"]["loose"])) == ("loose", 15)
    pages = weasyprint.HTML(string=render(full, "report", language)).render().pages
    assert "identity" in pages[1].anchors


def test_a_board_signs_and_promotes_a_surrogate(
    sealed: Sealed, inputs: Inputs, about: Path, tmp_path: Path
):
    home = tmp_path / "home"
    shutil.copytree(sealed.release, home / "releases" / sealed.release.name)
    board, name = seats(home / BOARD), sealed.release.name
    with pytest.raises(FelsinaError, match=r"report\.json is missing"):
        sign(home / BOARD, board.keys["a"], docket(home, name), board_terms(home, name))
    about.write_text(about_toml("risks"))
    for lacking in (True, False):
        if not lacking:
            about.write_text(about_toml())
        build(inputs, home, again=not lacking)
        for member in "ab":
            sign(home / BOARD, board.keys[member], docket(home, name), board_terms(home, name))
        if lacking:
            with pytest.raises(FelsinaError, match="lacks what people must write: risks"):
                promote(home / BOARD, board.keys["op"], docket(home, name))
    told = case_lines(docket(home, name), board.board(), utc_now())
    assert any("verdicts  all: 400 runs, the 80 % interval held" in line for line in told)
    promoted = promote(home / BOARD, board.keys["op"], docket(home, name)).promoted("beds")
    assert [one.release for one in promoted] == [name]


def board_terms(home: Path, name: str):
    return docket(home, name).terms(APPROVE, (), FAR)


@pytest.fixture
def run(sealed: Sealed, monkeypatch, capsys):
    """A command in the greenhouse's home."""
    monkeypatch.setenv("FELSINA_HOME", str(sealed.home))

    def call(begin, asked: command.Asked, *more) -> dict:
        begin(asked, *more, True)
        return json.loads(capsys.readouterr().out)

    yield call
    shutil.rmtree(reports(sealed.home, sealed.release.name), ignore_errors=True)


def test_the_commands_need_no_data_and_refuse_some(sealed: Sealed, inputs: Inputs, run):
    asked = command.Asked(sealed.release.name, about=inputs.about)
    found = run(command.build_one, asked, False, False)
    assert (found["release"], found["missing"]) == (sealed.release.name, [])
    assert run(command.verify_one, asked)["verified"] is True
    with pytest.raises(FelsinaError, match=r"leave out --dataset, --left-out$"):
        run(command.build_one, replace(asked, dataset=Path(), left_out=Path()), False, False)


def test_a_forecaster_needs_its_data(tiny: Tiny, run):
    with pytest.raises(FelsinaError, match="is a forecaster: name its data with --dataset"):
        run(command.build_one, command.Asked(str(tiny.release)), False, False)


@pytest.mark.parametrize("name", SHIPPED)
def test_what_people_wrote_of_a_shipped_surrogate_is_whole(name: str):
    path = about_file(SHIPPED[name], name)
    assert path == Path(domains.__file__).parent / SHIPPED[name] / "about" / f"{name}.toml"
    assert read_about(path).lacking(OPTIONAL_OF_SURROGATES) == []
    assert about_file(SHIPPED[name], "nothing") is None


def test_a_broken_release_has_no_report(inputs: Inputs, tmp_path: Path):
    broken = shutil.copytree(inputs.release, tmp_path / inputs.release.name)
    (broken / REPORT).write_bytes((broken / REPORT).read_bytes().replace(b"mae", b"mea", 1))
    with pytest.raises(FelsinaError, match=REPORT):
        gather(replace(inputs, release=broken))
