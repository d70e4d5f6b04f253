"""Stages that are done once: what is done again, what is left alone, and what is said before."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.chain import Made, Stage, Values, go, outputs_of, plan


class Bakery:
    """Flour and an oven to bread, bread to toast; what was done is noted."""

    def __init__(self, place: Path) -> None:
        self.place, self.records = place, place / "records"
        self.given: dict[str, Values] = {
            "mill": {"corn": "1" * 64},
            "bake": {"hours": 2},
            "toast": {"brown": 1},
        }
        self.done: list[str] = []
        place.mkdir(exist_ok=True)

    @property
    def stages(self) -> list[Stage]:
        def stage(name: str, *after: str) -> Stage:
            return Stage(name, after, lambda _: self.given[name], self._does(name), self.lost)

        return [stage("mill"), stage("bake", "mill"), stage("toast", "bake")]

    def _does(self, name: str):
        def work(made: Made) -> Values:
            self.done.append(name)
            made_of = self.given[name].get("corn") or f"{sorted(self.given[name].items())}"
            (self.place / name).write_text(made_of)
            # What is milled of any corn of the same kind is the same flour.
            return {"file": name, "kind": made_of[0] if name == "mill" else made_of}

        return work

    def lost(self, outputs: Values) -> str:
        there = (self.place / outputs["file"]).is_file()
        return "" if there else f"{outputs['file']} is missing"

    def run(self) -> list[str]:
        """Names of the stages that were done, after what was planned was held to it."""
        planned = plan(self.stages, self.records)
        self.done = []
        outputs = {name: made for name, made, _ in go(self.stages, self.records, lambda *_: None)}
        assert [outputs_of(self.records, name) for name in outputs] == list(outputs.values())
        runs = {step.stage: step.runs for step in planned}
        assert {name for name, said in runs.items() if said == "yes"} <= set(self.done)
        assert {name for name, said in runs.items() if said == "no"}.isdisjoint(self.done)
        return self.done

    def why(self, name: str) -> tuple[str, str]:
        (step,) = (step for step in plan(self.stages, self.records) if step.stage == name)
        return step.runs, step.why


@pytest.fixture
def bakery(tmp_path: Path) -> Bakery:
    return Bakery(tmp_path / "bakery")


def test_all_is_done_once(bakery: Bakery) -> None:
    assert bakery.why("toast") == ("yes", "not done yet")
    assert bakery.run() == ["mill", "bake", "toast"]
    assert bakery.run() == []
    assert bakery.why("toast") == ("no", "nothing changed")


def test_to_plan_is_to_write_nothing(bakery: Bakery) -> None:
    assert [step.runs for step in plan(bakery.stages, bakery.records)] == ["yes"] * 3
    assert not bakery.records.exists()
    assert bakery.done == []


def test_a_change_is_followed_and_told(bakery: Bakery) -> None:
    bakery.run()
    bakery.given["bake"]["hours"] = 3
    assert bakery.why("mill") == ("no", "nothing changed")
    assert bakery.why("bake") == ("yes", "hours 2, now 3")
    assert bakery.why("toast") == ("perhaps", "if bake makes something else")
    assert bakery.run() == ["bake", "toast"]
    bakery.given["bake"] |= {"salt": 1}
    assert bakery.why("bake") == ("yes", "salt is new")
    del bakery.given["bake"]["salt"]
    assert bakery.run() == []


def test_what_comes_out_the_same_stops_a_change(bakery: Bakery) -> None:
    bakery.run()
    bakery.given["mill"]["corn"] = "1" + "2" * 63
    assert bakery.why("mill") == ("yes", "corn changed")
    assert bakery.why("bake") == ("perhaps", "if mill makes something else")
    assert bakery.run() == ["mill"]
    bakery.given["mill"]["corn"] = "2" * 64
    assert bakery.run() == ["mill", "bake"]


def test_what_is_lost_is_made_again(bakery: Bakery) -> None:
    bakery.run()
    (bakery.place / "bake").unlink()
    assert bakery.why("bake") == ("yes", "bake is missing")
    assert bakery.run() == ["bake"]
    assert bakery.run() == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"inputs": {}}'])
def test_a_record_that_cannot_be_read_is_none(bakery: Bakery, content: bytes) -> None:
    bakery.run()
    (bakery.records / "bake.json").write_bytes(content)
    assert bakery.why("bake") == ("yes", "not done yet")
    assert outputs_of(bakery.records, "bake") == {}
    assert bakery.run() == ["bake"]


@pytest.mark.parametrize("at", ["mill", "bake", "toast"])
def test_a_stage_that_broke_off_is_done_again(bakery: Bakery, at: str) -> None:
    class Killed(Exception): ...

    def killed(made: Made) -> Values:
        raise Killed

    whole = bakery.stages
    names = [stage.name for stage in whole]
    broken = [
        Stage(s.name, s.after, s.inputs, killed if s.name == at else s.work, s.lost) for s in whole
    ]
    with pytest.raises(Killed):
        list(go(broken, bakery.records, lambda *_: None))
    before = names[: names.index(at)]
    assert bakery.done == before
    assert bakery.run() == names[len(before) :]


def test_a_change_while_it_works_is_seen_by_the_next(bakery: Bakery) -> None:
    bakery.run()
    bakery.given["bake"]["hours"] = 3

    def turned(made: Made) -> Values:
        bakery.given["bake"]["hours"] = 4
        return {"file": "bake"}

    stages = [
        Stage(s.name, s.after, s.inputs, turned if s.name == "bake" else s.work, s.lost)
        for s in bakery.stages
    ]
    bakery.given["bake"] = dict(bakery.given["bake"])
    list(go(stages, bakery.records, lambda *_: None))
    assert bakery.why("bake") == ("yes", "hours 3, now 4")
