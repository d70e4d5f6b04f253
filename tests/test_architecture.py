"""The walls between the rooms, and the shape of the code (docs of the design)."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.tiny import ROOT

ROOMS = ("models", "training", "serving", "privacy", "fairness", "pipelines")
DOMAINS = ("traffic", "energy", "flood")
MOST_LINES = 400
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), name_of(path))


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (a.value for a in node.args if isinstance(a, ast.Constant))


def docstrings(tree: ast.AST) -> set[int]:
    """Ids of the constants that stand alone as statements."""
    alone = (node.value for node in ast.walk(tree) if isinstance(node, ast.Expr))
    return {id(value) for value in alone if isinstance(value, ast.Constant)}


def literals(tree: ast.AST) -> list[str]:
    """String literals other than docstrings."""
    skipped = docstrings(tree)
    nodes = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in skipped]
    return [node.value for node in nodes if isinstance(node.value, str)]


def names_a_domain(literal: str) -> bool:
    """Whether a literal is a key, a path or a module with a domain in it; prose is free."""
    words = re.split(r"[^a-z]+", literal.lower())
    return " " not in literal.strip() and any(domain in words for domain in DOMAINS)


def test_there_is_something_to_look_at() -> None:
    assert len(SOURCES) > 40
    assert {name_of(path).partition("/")[0] for path in SOURCES} >= {"models", "serving"}


def test_the_rooms_know_only_the_rooms_below_them() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    ("literal", "named"),
    [
        ("traffic", True),
        ("embedded-flood", True),
        ("pipelines.domains.energy", True),
        ("Forecasts of traffic, energy demand and flood risk", False),
        ("trafficking", False),
    ],
)
def test_the_look_for_domains_sees(literal: str, named: bool) -> None:
    assert names_a_domain(literal) is named


def test_domains_are_named_in_their_folder_alone() -> None:
    inside = ROOT / "pipelines" / "domains"
    found = []
    for path in SOURCES:
        if path.is_relative_to(inside):
            continue
        tree = parsed(path)
        texts = [*literals(tree), *imports(tree)]
        found += [f"{name_of(path)}: {text!r}" for text in texts if names_a_domain(text)]
    assert found == []


@pytest.mark.parametrize(
    ("package", "home"),
    [("mlflow", "training/tracking.py"), ("bentoml", "serving/service.py")],
)
def test_one_module_alone_imports(package: str, home: str) -> None:
    users = [
        name_of(path)
        for path in SOURCES
        if package in {module.partition(".")[0] for module in imports(parsed(path))}
    ]
    assert users == [home]


def test_only_the_command_line_prints() -> None:
    found = []
    for path in SOURCES:
        name = name_of(path)
        if name == "pipelines/cli.py" or name.startswith("pipelines/commands/"):
            continue
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "print",
                "sys.stdout.write",
                "sys.stderr.write",
                "typer.echo",
                "rich.print",
            ):
                found.append(f"{name}:{node.lineno}")
    assert found == []


def test_packages_hold_names_and_no_code() -> None:
    allowed = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)
    found = []
    for path in SOURCES:
        if path.name != "__init__.py":
            continue
        for node in parsed(path).body:
            constant = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if not isinstance(node, allowed) and not constant:
                found.append(f"{name_of(path)}:{node.lineno}")
    assert found == []


def test_no_file_is_too_long() -> None:
    tests = (ROOT / "tests").rglob("*.py")
    long = [
        f"{name_of(path)}: {lines}"
        for path in [*SOURCES, *tests]
        if (lines := len(path.read_text().splitlines())) > MOST_LINES
    ]
    assert long == []


def test_names_say_what_a_module_is_about() -> None:
    vague = {"util", "utils", "helper", "helpers", "common", "misc"}
    parts = {name_of(path): set(path.relative_to(ROOT).with_suffix("").parts) for path in SOURCES}
    assert [name for name, words in parts.items() if words & vague] == []


def test_tests_are_no_package() -> None:
    assert sorted((ROOT / "tests").rglob("__init__.py")) == []


def unpickling(tree: ast.AST) -> Iterator[str]:
    """What could read or write a pickle; numpy refuses objects unless it is told otherwise."""
    used = {module.partition(".")[0] for module in imports(tree)}
    yield from used & {"pickle", "dill", "cloudpickle", "joblib", "shelve"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "torch.save"):
            yield ast.unparse(node.func)
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            yield from [] if ast.unparse(node.value) == "False" else ["allow_pickle"]


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ("import joblib", True),
        ("torch.load(path, weights_only=True)", True),
        ("np.load(path, allow_pickle=True)", True),
        ("np.load(path, allow_pickle=False)", False),
        ("json.load(stream)", False),
    ],
)
def test_the_look_for_unpickling_sees(line: str, seen: bool) -> None:
    assert bool(list(unpickling(ast.parse(line)))) == seen


def test_nothing_is_pickled_or_unpickled() -> None:
    found = [f"{name_of(path)}: {what}" for path in SOURCES for what in unpickling(parsed(path))]
    assert found == []
