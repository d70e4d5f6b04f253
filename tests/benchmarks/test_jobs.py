from pathlib import Path

import pytest

from benchmarks.jobs import in_processes


def test_every_job_runs_in_a_process_of_its_own(tmp_path):
    paths = [tmp_path / f"{number}" for number in range(5)]
    in_processes(Path.write_text, [(path, path.name) for path in paths])
    assert [path.read_text() for path in paths] == ["0", "1", "2", "3", "4"]


def test_a_job_that_fails_is_told(tmp_path):
    with pytest.raises(FileNotFoundError):
        in_processes(Path.write_text, [(tmp_path / "none" / "file", "a")])
