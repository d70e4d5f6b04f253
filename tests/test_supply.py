"""What is installed is pinned, comes from nowhere in particular, and is listed in an SBOM."""

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution, distributions
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.fixtures.tiny import ROOT

LINES = (ROOT / "constraints.txt").read_text().splitlines()
PINNED = {canonicalize_name(line.partition("==")[0]): line.partition("==")[2] for line in LINES}
OF_THE_VENV = {"pip", "setuptools"}
"""What installs the others."""
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def required() -> list[str]:
    """By the project, by each of its extras, and by the image that installs by name."""
    image = (ROOT / "serving" / "deploy" / "mlflow.Containerfile").read_text()
    (line,) = re.findall(r"pip install .*constraints\.txt (.*) &&", image)
    extras = [text for extra in PROJECT["optional-dependencies"].values() for text in extra]
    return [*PROJECT["dependencies"], *extras, *line.replace('"', "").split()]


def pulled_in(wanted: list[str]) -> set[str]:
    """Distributions that requirements ask for, with all that these ask for, as installed.

    What is only asked for in one exact version is pinned by who asks: torch's CUDA is.
    """
    seen: set[tuple[str, str]] = set()
    free: set[str] = set()
    ahead = [(Requirement(text), "") for text in wanted]
    while ahead:
        requirement, extra = ahead.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        if not re.fullmatch(r"==[^*,]+", str(requirement.specifier)):
            free.add(name)
        for asked in {"", *requirement.extras}:
            if (name, asked) not in seen:
                seen.add((name, asked))
                ahead += [(Requirement(text), asked) for text in needs(name)]
    return free


def needs(name: str) -> list[str]:
    try:
        return distribution(name).requires or []
    except PackageNotFoundError:
        return []


def test_pins_are_names_and_versions() -> None:
    """No address, no index, no option: whoever installs chooses where from."""
    assert [line for line in LINES if not re.fullmatch(r"[\w.-]+==[\w.+!]+", line)] == []
    assert len(PINNED) == len(LINES)
    assert sorted(LINES, key=lambda line: line.partition("==")[0].lower()) == LINES


def test_all_that_is_pulled_in_is_pinned() -> None:
    pulled = pulled_in(required())
    assert pulled >= {"sympy", "gunicorn", "flask-wtf", "boto3", "psycopg", "pytest"}
    assert sorted(pulled - PINNED.keys() - OF_THE_VENV) == []


def test_what_is_pulled_in_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {
        "a": ["b[x]", "c; extra == 'no'"],
        "b": ["d; extra == 'x'", "e==1"],
        "e": ["f"],
        "d": ["a"],
    }
    monkeypatch.setattr(sys.modules[__name__], "needs", lambda name: asked.get(name, []))
    assert pulled_in(["a"]) == {"a", "b", "d", "f"}


@pytest.fixture(scope="module")
def sbom(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the command of ``make sbom`` writes, to another place."""
    return json.loads(made(tmp_path_factory.mktemp("sbom") / "sbom.json"))


def made(place: Path) -> bytes:
    lines = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    (command,) = re.findall(r"\$\(BIN\)/(cyclonedx-py .*)", lines)
    words = command.replace("$(BIN)/python", sys.executable).split()
    words[words.index("--output-file") + 1] = str(place)
    program = Path(sys.executable).with_name(words[0])
    subprocess.run([program, *words[1:]], cwd=ROOT, check=True, capture_output=True)
    return place.read_bytes()


def schema_of_cyclonedx() -> Any:
    """Of version 1.6, as its library brings it."""
    place = files("cyclonedx.schema") / "_res"
    names = ("bom-1.6", "spdx", "jsf-0.82")
    bom, *others = (json.loads((place / f"{n}.SNAPSHOT.schema.json").read_text()) for n in names)
    known = [
        (f"http://cyclonedx.org/schema/{name}.SNAPSHOT.schema.json", schema)
        for name, schema in zip(names[1:], others, strict=True)
    ]
    return jsonschema_rs.validator_for(bom, registry=jsonschema_rs.Registry(known))


def test_the_sbom_keeps_to_its_standard(sbom: dict[str, Any]) -> None:
    schema = schema_of_cyclonedx()
    assert [error.message for error in schema.iter_errors(sbom)] == []
    first, *others = sbom["components"]
    wrong = sbom | {"components": [first | {"type": "libary"}, *others]}
    assert not schema.is_valid(wrong)


def test_the_sbom_lists_what_is_installed(sbom: dict[str, Any]) -> None:
    assert sbom["metadata"]["component"]["name"] == PROJECT["name"]
    listed = {canonicalize_name(c["name"]): c for c in sbom["components"]}
    present = {canonicalize_name(found.name) for found in distributions()}
    installed = (pulled_in(PROJECT["dependencies"]) & present) - OF_THE_VENV
    assert len(installed) > 100
    assert installed <= listed.keys()
    for name in installed:
        assert listed[name]["version"].partition("+")[0] == PINNED[name]  # torch: +cpu
        assert listed[name]["purl"].startswith("pkg:pypi/")
    told = {d["ref"]: d.get("dependsOn", []) for d in sbom["dependencies"]}
    assert len(told[sbom["metadata"]["component"]["bom-ref"]]) >= len(PROJECT["dependencies"])


def test_the_sbom_names_no_place_and_no_time(sbom: dict[str, Any], tmp_path: Path) -> None:
    again = made(tmp_path / "again.json")
    assert json.loads(again) == sbom
    assert b"file://" not in again
    assert str(ROOT).encode() not in again
    assert "timestamp" not in sbom["metadata"]
