import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from models.board import BOARD, CHARTER
from models.contracts import QUANTILES
from serving.release import load_release
from tests.factories import NODES, make_dataset
from tests.fixtures.tiny import ROOT, SET_FLAGS, Run, Tiny, command, environment, felsina


def refused(answer: tuple[int, str, str], *parts: str) -> None:
    code, out, err = answer
    assert code == 2
    assert out == ""
    assert err.startswith("felsina: ")
    assert err.count("\n") == 1
    for part in parts:
        assert part in err


def test_help_is_quick_because_it_loads_little(tmp_path: Path, capsys) -> None:
    best = min(_timed(tmp_path) for _ in range(3))
    with capsys.disabled():
        sys.stdout.write(f"\nfelsina --help: {best:.2f} s\n")
    heavy = ("torch", "pandas", "mlflow", "fastapi", "lightning", "onnxruntime", "bentoml")
    program = f"import sys, pipelines.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def _timed(home: Path) -> float:
    began = time.perf_counter()
    done = subprocess.run(
        command("--help"), cwd=ROOT, env=environment(home), capture_output=True, check=True
    )
    assert b"Forecasts of traffic" in done.stdout
    return time.perf_counter() - began


def test_a_release_is_verified_without_torch_and_pandas(tiny: Tiny) -> None:
    program = (
        "import sys; from pipelines.commands.release import verify_one; from pathlib import Path; "
        "verify_one(Path(sys.argv[1])); "
        "print([m for m in ('torch', 'pandas', 'mlflow') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tiny.release)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.endswith("[]\n")


def test_errors_leave_the_process_as_one_line(tmp_path: Path) -> None:
    done = felsina(tmp_path, "release", "verify", str(tmp_path / "nosuch"))
    refused((done.returncode, done.stdout, done.stderr), "nosuch", "is missing")


@pytest.mark.parametrize(
    "words", [("run",), ("train",), ("backtest",), ("release", "build"), ("data", "validate")]
)
def test_a_missing_folder_is_refused(run: Run, tmp_path: Path, words: tuple[str, ...]) -> None:
    refused(run(*words, "--dataset", str(tmp_path / "nosuch")), "dataset.toml is missing")


@pytest.mark.parametrize("verb", ["run", "train", "backtest"])
@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (["--set", "nosuch=1"], "nosuch"),
        (["--set", "architecture.nosuch=1"], "architecture.nosuch"),
        (["--set", "steps"], "key=value"),
        (["--set", "steps=none"], "steps"),
        (["--set", "steps=-1"], "steps"),
        (["--set", "steps.more=1"], "steps"),
        (["--set", "=1"], "setting"),
        (["--set", "learning_rate=nan"], "learning_rate"),
        (["--profile", "nosuch"], "profile"),
        (["--config", "nosuch.toml"], "nosuch.toml"),
    ],
)
def test_bad_settings_are_refused(
    run: Run, tiny: Tiny, verb: str, flags: list[str], part: str
) -> None:
    refused(run(verb, "--dataset", str(tiny.folder), *flags), part)


@pytest.mark.parametrize("content", [b"steps = ", b"nosuch = 1", b"steps = 'many'", b"\xff\xfe"])
def test_a_bad_settings_file_is_refused(
    run: Run, tiny: Tiny, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(content)
    refused(run("train", "--dataset", str(tiny.folder), "--config", str(path)))


def test_a_bad_dataset_is_refused(run: Run, tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "tiny", domain="odd")
    refused(run("run", "--dataset", str(folder)), "domain 'odd'", "traffic")
    (folder / "dataset.toml").write_bytes(b"name = \xff")
    refused(run("data", "validate", "--dataset", str(folder)), "dataset.toml")


@pytest.mark.parametrize("words", [("nosuch",), ("data", "nosuch"), ("train",), ("serve", "-x")])
def test_wrong_usage_exits_2(run: Run, words: tuple[str, ...]) -> None:
    code, out, err = run(*words)
    assert code == 2
    assert out == ""
    assert "Traceback" not in err


def test_validate_says_what_is_there(run: Run, tiny: Tiny) -> None:
    code, out, _ = run("data", "validate", "--dataset", str(tiny.folder))
    assert code == 0
    first, second = out.splitlines()
    assert first == f"{tiny.folder}: valid, 4 nodes x 1680 steps"
    assert second.startswith("Nothing looks wrong")


def test_validate_flags_what_looks_wrong(run: Run, tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "tiny")
    series = pd.read_parquet(folder / "series.parquet")
    series.loc[1000:1040, "b"] = 77.0
    series.to_parquet(folder / "series.parquet", index=False)
    before = (folder / "series.parquet").read_bytes()
    table = tmp_path / "new" / "flags.csv"
    code, out, _ = run("data", "validate", "--dataset", str(folder), "--flags", str(table))
    assert code == 0
    assert "stuck: 1 on 1 node" in out
    assert "b from 2024-03-17T16:00:00Z, 41 steps: 77 veh/h" in out
    (row,) = pd.read_csv(table).to_dict("records")
    assert (row["node"], row["kind"], row["count"], row["value"]) == ("b", "stuck", 41, 77)
    code, out, _ = run("data", "validate", "--dataset", str(folder), "--json")
    assert code == 0
    record = json.loads(out)
    assert record["summary"] == {
        "flags": 1,
        "kinds": {"stuck": 1},
        "nodes": {"b": {"stuck": 1}},
    }
    assert record["flags"][0]["reason"] == row["reason"]
    assert (folder / "series.parquet").read_bytes() == before


def test_describe_answers_in_json(run: Run, tiny: Tiny) -> None:
    code, out, _ = run("data", "describe", "--dataset", str(tiny.folder), "--json")
    assert code == 0
    record = json.loads(out)
    assert record["name"] == "tiny"
    assert (record["nodes"], record["edges"], record["steps"]) == (4, 4, 1680)
    assert record["start"] == "2024-02-05T00:00:00Z"
    assert record["validation_end"] == "2024-04-05T00:00:00Z"
    assert record["end"] == "2024-04-14T23:00:00Z"
    assert record["test_origins"] == len(tiny.origins)
    assert record["missing"] == pytest.approx(0.024, abs=0.005)
    assert record["synthetic"] is True
    assert record["sha256"] == tiny.dataset.digests
    code, out, _ = run("data", "describe", "--dataset", str(tiny.folder))
    assert code == 0
    assert "made by a test" in out


def test_an_audit_says_what_it_lacks(run: Run, tiny: Tiny, tmp_path: Path) -> None:
    folder, nowhere = ("--dataset", str(tiny.folder)), str(tmp_path / "none.json")
    refused(run("audit"), "--dataset is missing")
    refused(run("audit", *folder, "--left-out", nowhere), "add --release")
    refused(run("audit", *folder, "--release", nowhere), "no release of this name in")
    refused(run("audit", "left-out", *folder, "--areas", nowhere), "none.json: cannot be read")
    refused(
        run("audit", "scenario", nowhere, "--figure", "people_wet", *folder),
        "neither areas.parquet nor areas in report.json",
    )


def test_synth_writes_a_dataset_once(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "city"
    code, out, _ = run("data", "synth", "flood", str(folder), "--seed", "5")
    assert code == 0
    assert str(folder) in out
    assert run("data", "validate", "--dataset", str(folder))[0] == 0
    refused(run("data", "synth", "flood", str(folder)), "exists")
    refused(run("data", "synth", "odd", str(tmp_path / "other")), "'odd'", "traffic")
    assert not (tmp_path / "other").exists()


def test_releases_are_listed(run: Run, tiny: Tiny) -> None:
    code, out, _ = run("release", "list", "--json")
    assert code == 0
    # The session's home holds what other tests released too.
    (row,) = [one for one in json.loads(out) if one["release"] == tiny.release.name]
    felsina_scores = load_release(tiny.release).manifest["metrics"]["felsina"]
    assert row == {
        "release": tiny.release.name,
        "dataset": "tiny",
        "domain": "traffic",
        "mae": felsina_scores["mae"],
        "unit": "veh/h",
        "coverage_80": felsina_scores["coverage_80"],
        # Other tests may have let a board decide in the session's home.
        "served": (tiny.home / BOARD / CHARTER).is_file(),
    }
    code, out, _ = run("release", "list")
    assert code == 0
    assert tiny.release.name in out


def test_a_list_shows_what_is_refused(run: Run, tiny: Tiny, tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "releases" / tiny.release.name
    shutil.copytree(tiny.release, folder)
    (folder / "report.json").write_text("{}")
    monkeypatch.setenv("FELSINA_HOME", str(tmp_path))
    (row,) = json.loads(run("release", "list", "--json")[1])
    assert row["served"] is False
    assert "report.json" in row["error"]
    assert "refused" in run("release", "list")[1]
    monkeypatch.setenv("FELSINA_HOME", str(tmp_path / "empty"))
    assert json.loads(run("release", "list", "--json")[1]) == []


def test_backtest_writes_what_is_asked_for(run: Run, tiny: Tiny, tmp_path: Path) -> None:
    metrics, forecasts = tmp_path / "new" / "m.json", tmp_path / "new" / "f.parquet"
    flags = ["--json", str(metrics), "--forecasts", str(forecasts), *SET_FLAGS]
    code, out, err = run("backtest", "--dataset", str(tiny.folder), *flags)
    assert code == 0, err
    assert "Train the network" not in err
    assert "felsina" in out
    assert "high (top 5 %)" in out
    assert "adaptive bands: coverage" in out
    assert [
        line.split("  ")[0] for line in out.splitlines() if line.startswith(("as ", "unkn"))
    ] == [
        "as observed",
        "as forecast",
        "unknown",
    ]
    assert json.loads(metrics.read_bytes()) == tiny.report
    table = pd.read_parquet(forecasts)
    levels = [f"q{level:g}" for level in QUANTILES]
    assert sorted(table.columns) == sorted(["init_time", "lead", "node", *levels])
    assert str(table["init_time"].dt.tz) == "UTC"
    assert sorted(table["lead"].unique()) == [1, 2, 3, 4, 5, 6]
    assert len(table) == len(tiny.origins) * len(NODES) * 6
    assert {path.name for path in metrics.parent.iterdir()} == {"m.json", "f.parquet"}


def test_train_and_build_answer_in_json(run: Run, tiny: Tiny) -> None:
    code, out, _ = run("train", "--dataset", str(tiny.folder), "--json", *SET_FLAGS)
    assert code == 0
    assert Path(json.loads(out)["trained"]) == tiny.trained
    code, out, _ = run("release", "build", "--dataset", str(tiny.folder), "--json", *SET_FLAGS)
    assert code == 0
    assert Path(json.loads(out)["release"]) == tiny.release


def test_a_settings_file_says_the_same_as_flags(run: Run, tiny: Tiny, tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("\n".join(flag for flag in SET_FLAGS if flag != "--set"))
    arguments = ("train", "--dataset", str(tiny.folder), "--json", "--config", str(path))
    code, out, _ = run(*arguments)
    assert code == 0
    assert Path(json.loads(out)["trained"]) == tiny.trained
