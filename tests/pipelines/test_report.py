"""A board's report: the same bytes each time, whole or not at all; a changed one is caught."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from fairness.about import OPTIONAL, About
from models.board import APPROVE
from models.contracts import FelsinaError
from models.record import canonical_json
from pipelines import report as room
from pipelines.audit import audit_release
from pipelines.board import BOARD, docket, sealed
from pipelines.commands import report as command
from pipelines.gate import Replays
from pipelines.present import RECORD, reports
from pipelines.report import Inputs, build, gather, verify
from pipelines.train import open_registered
from serving.release import load_release
from serving.reports import PAGES, Reports
from tests.factories import make_dataset
from tests.fixtures.boards import FAR, seats
from tests.fixtures.reports import about_toml, inputs_of, write_areas
from tests.fixtures.tiny import ROOT, Tiny, reseal

PARTS = set(About.model_fields) - set(OPTIONAL)


@pytest.fixture(autouse=True)
def _two_sensors_are_a_group(monkeypatch):
    monkeypatch.setattr("fairness.groups.LEAST_SENSORS", 2)


@pytest.fixture
def inputs(tiny: Tiny, tmp_path: Path) -> Inputs:
    return inputs_of(tiny, tmp_path / "inputs")


@pytest.fixture
def once(tiny: Tiny, monkeypatch):
    """The same replay and audit is made once: what is tested is what comes after."""
    made, replays = {}, Replays(tiny.dataset)

    def audited(release: Path, dataset, areas: Path, left_out, scored):
        key = release.name, (areas.parent / "areas.csv").read_text()
        if key not in made:
            made[key] = audit_release(release, dataset, areas, left_out=left_out, scored=scored)
        return made[key]

    monkeypatch.setattr(room, "audit_release", audited)
    monkeypatch.setattr(room, "Replays", lambda dataset, kept: replays)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_built_twice_is_the_same_to_the_byte_and_names_no_place(
    tiny: Tiny, inputs: Inputs, tmp_path: Path
):
    first, _ = build(inputs, tmp_path / "a")
    moved = replace(inputs, areas=write_areas(tmp_path), about=tmp_path / "other.toml")
    (tmp_path / "other.toml").write_text(about_toml())
    second, _ = build(moved, tmp_path / "b")
    assert files(first) == files(second)
    assert set(files(first)) == {
        RECORD,
        *(f"{p}.{lang}.html" for p in ("report", "card", "annex-iv") for lang in ("it", "en")),
    }
    for content in files(first).values():
        assert str(tmp_path).encode() not in content
        assert str(tiny.home).encode() not in content


def test_a_report_is_what_its_schema_says(inputs: Inputs):
    schema = Draft202012Validator(json.loads((ROOT / "docs" / "report.schema.json").read_bytes()))
    record = gather(inputs)
    schema.validate(record)
    for name in record:
        assert not schema.is_valid({key: value for key, value in record.items() if key != name})
    assert not schema.is_valid(record | {"more": 1})


def test_a_report_is_verified_and_every_change_is_named(inputs: Inputs, tmp_path: Path, once):
    folder, record = build(inputs, tmp_path)
    assert verify(inputs, tmp_path) == (folder, [])
    kept = files(folder)

    record["verdict"]["counts"]["fail"] = 7
    (folder / RECORD).write_text(json.dumps(record))
    assert "verdict.counts" in verify(inputs, tmp_path)[1]
    record = json.loads(kept[RECORD])
    assert record["pages"].keys() == kept.keys() - {RECORD}
    record["pages"]["card.it.html"] = "0" * 64
    (folder / RECORD).write_bytes(canonical_json(record))
    assert verify(inputs, tmp_path)[1] == ["pages.card.it.html"]
    (folder / RECORD).write_bytes(kept[RECORD] + b"\n")
    assert verify(inputs, tmp_path)[1] == [RECORD]
    (folder / RECORD).write_bytes(kept[RECORD])

    (folder / "card.it.html").write_bytes(kept["card.it.html"].replace(b"tiny", b"tidy", 1))
    assert verify(inputs, tmp_path)[1] == ["card.it.html"]
    (folder / "card.it.html").unlink()
    assert verify(inputs, tmp_path)[1] == ["card.it.html"]
    (folder / "card.it.html").write_bytes(kept["card.it.html"])
    (folder / "more.html").write_text("not theirs")
    assert verify(inputs, tmp_path)[1] == ["more.html"]
    (folder / "more.html").unlink()
    assert verify(inputs, tmp_path)[1] == []


def test_other_inputs_are_named(inputs: Inputs, tmp_path: Path, once):
    build(inputs, tmp_path)
    (tmp_path / "other").mkdir()
    areas = replace(inputs, areas=write_areas(tmp_path / "other", residents=901))
    found = verify(areas, tmp_path)[1]
    assert {"inputs.areas", "map.areas", "audit.groupings"} <= set(found)
    assert "about.purpose" not in found
    about = tmp_path / "other" / "about.toml"
    about.write_text(about_toml().replace("Text of purpose", "Another purpose"))
    found = verify(replace(inputs, about=about), tmp_path)[1]
    assert {"inputs.about", "about.purpose"} <= set(found)
    assert "inputs.areas" not in found


def test_a_swapped_dataset_is_refused(inputs: Inputs, tmp_path: Path):
    other = open_registered(make_dataset(tmp_path / "swapped", seed=5))
    with pytest.raises(FelsinaError, match=r"forcings\.parquet: sha256"):
        gather(replace(inputs, dataset=other))


def test_every_part_that_nobody_wrote_is_listed(inputs: Inputs, tmp_path: Path, once):
    assert gather(inputs)["missing"] == []
    about = tmp_path / "about.toml"
    for name in sorted(PARTS)[::4]:
        about.write_text(about_toml(name))
        record = gather(replace(inputs, about=about))
        assert record["missing"] == [name]
        assert record["verdict"]["state"] == "incomplete"
    assert set(gather(replace(inputs, about=None))["missing"]) == PARTS


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[purpos]\nit = 'a b'\nen = 'a b'", "purpos: extra"),
        ("[purpose]\nit = 'a b'", "purpose.en: field required"),
        ("[purpose]\nit = '   '\nen = 'a b'", "purpose.it = '   ': string should have"),
        ("purpose =", "no TOML"),
    ],
)
def test_a_wrong_part_is_named(inputs: Inputs, tmp_path: Path, text: str, told: str):
    (tmp_path / "about.toml").write_text(text)
    with pytest.raises(FelsinaError, match=told) as caught:
        gather(replace(inputs, about=tmp_path / "about.toml"))
    assert "\n" not in str(caught.value)


def test_a_report_is_written_whole_or_not_at_all(inputs: Inputs, tmp_path: Path, once, monkeypatch):
    folder, _ = build(inputs, tmp_path)
    kept = files(folder)

    def torn(part: Path) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(room, "sync_folder", torn)
        with pytest.raises(OSError, match="no space"):
            build(replace(inputs, about=None), tmp_path)
    assert files(folder) == kept
    assert build(replace(inputs, about=None), tmp_path)[0] == folder
    assert files(folder) != kept
    assert [p.name for p in folder.parent.iterdir() if p.is_dir()] == [folder.name]


def test_pages_that_say_something_else_than_the_record_are_neither_signed_nor_shown(
    tiny: Tiny, inputs: Inputs, tmp_path: Path, once
):
    name = tiny.release.name
    shutil.copytree(tiny.release, tmp_path / "releases" / name)
    folder, record = build(inputs, tmp_path)
    assert docket(tmp_path, name).report == record
    kept, release, served = files(folder), load_release(tiny.release), Reports(tmp_path)
    for page in PAGES:
        shown = served.page(release, page)
        assert shown is not None
        assert shown.plain == kept[PAGES[page]]
    changed = kept["report.en.html"].replace(b"tiny", b"tidy", 1)
    assert changed != kept["report.en.html"]
    for page, content in {
        "report.en.html": changed,
        "annex-iv.it.html": b"",
        "a.html": b"",
    }.items():
        (folder / page).write_bytes(content)
        with pytest.raises(FelsinaError, match=page) as caught:
            docket(tmp_path, name)
        assert "\n" not in str(caught.value)
        assert sealed(tmp_path, name).manifest_sha256 == record["manifest_sha256"]
        assert page not in PAGES or served.page(release, page) is None
        (folder / page).unlink()
        for other, held in kept.items():
            (folder / other).write_bytes(held)
        assert docket(tmp_path, name).report == record
    record["pages"]["card.it.html"] = "0" * 64
    (folder / RECORD).write_bytes(canonical_json(record))
    with pytest.raises(FelsinaError, match=r"card\.it\.html does not say what"):
        docket(tmp_path, name)


def test_a_report_that_the_board_has_ruled_on_is_not_replaced_unasked(
    tiny: Tiny, inputs: Inputs, tmp_path: Path, once
):
    shutil.copytree(tiny.release, tmp_path / "releases" / tiny.release.name)
    board, other = seats(tmp_path / BOARD, "a", 1), replace(inputs, about=None)
    build(other, tmp_path)
    folder, _ = build(inputs, tmp_path)
    kept = files(folder)
    of = docket(tmp_path, tiny.release.name)
    decision = board.approve(of.terms(APPROVE, (), FAR))
    with pytest.raises(FelsinaError, match=f"decision {decision[:12]} is on this report.*--again"):
        build(other, tmp_path)
    assert files(folder) == kept
    (folder / "card.it.html").unlink()
    build(inputs, tmp_path)
    assert files(folder) == kept
    build(other, tmp_path, again=True)
    assert files(folder) != kept
    build(inputs, tmp_path)
    assert files(folder) == kept


def test_what_changed_since_the_champion_is_told(tiny: Tiny, inputs: Inputs, tmp_path: Path):
    def change(manifest: dict) -> None:
        manifest["training"]["settings"]["steps"] = 999

    champion = reseal(tiny.release, tmp_path, change)
    found = gather(replace(inputs, champion=champion))
    assert found["champion"]["release"] == champion.name
    assert found["champion"]["changed"] == {"settings": ["steps"]}
    assert {g["changed"] for g in found["champion"]["groups"]} == {0.0}
    assert found["verdict"]["against"]["champion"]["share"] == 0.0
    assert found["gate"]["against"] == champion.name

    def earlier(manifest: dict) -> None:
        manifest["data"]["digests"]["series.parquet"] = "0" * 64

    found = gather(replace(inputs, champion=reseal(tiny.release, tmp_path, earlier)))
    assert found["champion"]["changed"] == {"data": ["series.parquet"]}
    assert found["verdict"]["against"]["champion"]["share"] == 0.0

    def later(manifest: dict) -> None:
        manifest["data"]["validation_end"] = "2024-04-06T00:00:00Z"

    found = gather(replace(inputs, champion=reseal(tiny.release, tmp_path, later)))
    assert found["champion"]["groups"] is None
    assert found["gate"]["instead"] == "seen"
    assert found["verdict"]["against"]["champion"]["share"] is None


def test_cases_may_go_on_after_a_report_but_not_be_edited(inputs: Inputs, tmp_path: Path, once):
    case = {
        "number": "2026-0001",
        "dataset": "tiny",
        "area": "one",
        "subject": "other",
        "opened": "2026-01-02",
        "state": "open",
        "answer_it": None,
        "answer_en": None,
    }
    told = {"answer_it": "Fatto.", "answer_en": "Done.", "state": "answered"}
    build(replace(inputs, cases=(case,)), tmp_path)
    later = case | {"number": "2026-0002"}
    assert verify(replace(inputs, cases=(case | told, later)), tmp_path)[1] == []
    assert verify(replace(inputs, cases=(later,)), tmp_path)[1] == ["cases"]
    assert verify(replace(inputs, cases=(case | {"area": "two"},)), tmp_path)[1] == ["cases"]
    build(replace(inputs, cases=(case | told,)), tmp_path)
    assert verify(replace(inputs, cases=(case | told,)), tmp_path)[1] == []
    assert verify(replace(inputs, cases=(case,)), tmp_path)[1] == ["cases"]


def test_the_commands_build_and_refuse(tiny: Tiny, inputs: Inputs, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FELSINA_HOME", str(tmp_path))
    given = command.Asked(str(tiny.release), tiny.folder, inputs.areas, inputs.about)
    command.build_one(given, False, False, True)
    answer = json.loads(capsys.readouterr().out)
    assert answer["missing"] == []
    folder = reports(tmp_path, tiny.release.name)
    assert answer["folder"] == str(folder)
    command.verify_one(given, True)
    assert json.loads(capsys.readouterr().out)["verified"] is True
    record = (folder / RECORD).read_bytes()
    (folder / RECORD).write_bytes(record.replace(b'"days":', b'"days":1', 1))
    with pytest.raises(FelsinaError, match=r"audit\.days"):
        command.verify_one(given, True)
    with pytest.raises(FelsinaError, match="no release of this name"):
        command.build_one(replace(given, release="nobody-0123456789ab"), False, False, True)
