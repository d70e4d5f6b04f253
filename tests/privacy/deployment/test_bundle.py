import pytest

from models.errors import FelsinaError
from privacy.deployment import bundle


def test_the_bundle_is_the_same_each_time_and_holds_four_files_and_a_list():
    made = bundle.build()
    assert made == bundle.build()
    assert set(bundle.contents(made)) == set(bundle.sources()) | {".info/CONTENT"}
    assert len(made) < 10_000


def test_its_folder_builds_to_the_same_bundle(tmp_path):
    from flwr.cli.build import build_fab_from_disk

    bundle.write_sources(tmp_path / "bundle")
    assert build_fab_from_disk(tmp_path / "bundle") == bundle.build()


def test_what_is_no_bundle_is_refused():
    with pytest.raises(FelsinaError, match="no archive"):
        bundle.contents(b"no zip")
