import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from models.record import canonical_json
from pipelines.release import point_at
from serving import catalogue as module
from serving.catalogue import Catalogue, NotFound
from serving.release import champion_pointer, champions
from serving.store import Store
from tests.fixtures.tiny import Tiny, renamed, reseal


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home whose catalogue looks for releases at every call."""
    monkeypatch.setattr("serving.served._RESCAN_SECONDS", 0.0)
    home = tmp_path / "home"
    (home / "releases").mkdir(parents=True)
    return home


@pytest.fixture
def catalogue(place: Path, empty_store: Store) -> Catalogue:
    return Catalogue(place, empty_store)


def bring(tiny: Tiny, home: Path) -> Path:
    folder = home / "releases" / tiny.release.name
    shutil.copytree(tiny.release, folder)
    return folder


def note(text: str):
    return lambda manifest: manifest["privacy"].update(statement=text)


def served(catalogue: Catalogue) -> dict[str, str]:
    return {name: runtime.release.id for name, runtime in catalogue.runtimes().items()}


def dated(folder: Path, second: int) -> Path:
    os.utime(folder, (second, second))
    return folder


def test_a_new_release_is_picked_up_while_running(tiny, place, catalogue) -> None:
    assert served(catalogue) == {}
    with pytest.raises(NotFound, match="served: none"):
        catalogue.runtime("tiny")
    first = dated(bring(tiny, place), 1000)
    assert served(catalogue) == {"tiny": first.name}
    held = catalogue.runtime("tiny")
    other = reseal(tiny.release, place, renamed("other"))
    assert served(catalogue) == {"other": other.name, "tiny": first.name}
    assert catalogue.runtime("tiny") is held
    newer = dated(reseal(tiny.release, place, note("another")), 2000)
    assert served(catalogue) == {"other": other.name, "tiny": newer.name}


def test_a_release_that_is_gone_is_no_longer_served(tiny, place, catalogue) -> None:
    folder = bring(tiny, place)
    assert served(catalogue) == {"tiny": folder.name}
    shutil.rmtree(folder)
    assert served(catalogue) == {}


def test_a_folder_in_the_making_is_no_release(tiny, place, catalogue) -> None:
    shutil.copytree(tiny.release, place / "releases" / f".{tiny.release.name}.part")
    (place / "releases" / "no-release").mkdir()
    assert served(catalogue) == {}


@pytest.mark.parametrize("name", ["model.onnx", "graph.json", "report.json", "manifest.json"])
def test_a_tampered_release_is_not_served_and_the_others_are(
    tiny, place, catalogue, caplog, name
) -> None:
    bad = bring(tiny, place)
    good = reseal(tiny.release, place, renamed("other"))
    (bad / name).write_bytes((bad / name).read_bytes() + b" ")
    assert served(catalogue) == {"other": good.name}
    assert str(bad / name) in caplog.text


def test_the_pointer_chooses(tiny, place, catalogue) -> None:
    older = dated(bring(tiny, place), 1000)
    newer = dated(reseal(tiny.release, place, note("another")), 2000)
    assert served(catalogue) == {"tiny": newer.name}
    for folder in (older, newer, older):
        point_at(place, folder)
        assert served(catalogue) == {"tiny": folder.name}
        assert champions(place) == {"tiny": folder}
    pointer = json.loads(champion_pointer(place, "tiny").read_bytes())
    assert pointer["manifest_sha256"].startswith(older.name.rpartition("-")[2])


def test_a_pointer_at_a_tampered_release_serves_nothing_in_its_place(
    tiny, place, catalogue
) -> None:
    chosen = bring(tiny, place)
    reseal(tiny.release, place, note("another"))
    point_at(place, chosen)
    (chosen / "extra").write_text("")
    assert served(catalogue) == {}


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"{}", b"[]", b'{"release": 7}', canonical_json({"release": "tiny-000000000000"})],
)
def test_a_broken_pointer_takes_down_its_dataset_alone(tiny, place, catalogue, content) -> None:
    bring(tiny, place)
    good = reseal(tiny.release, place, renamed("other"))
    pointer = champion_pointer(place, "tiny")
    pointer.parent.mkdir()
    pointer.write_bytes(content)
    assert served(catalogue) == {"other": good.name}


def test_a_pointer_does_not_lead_out_of_the_home(tiny, place, catalogue) -> None:
    bring(tiny, place)
    pointer = champion_pointer(place, "tiny")
    pointer.parent.mkdir()
    pointer.write_bytes(canonical_json({"release": str(tiny.release)}))
    for runtime in catalogue.runtimes().values():
        assert runtime.release.folder.parent == place / "releases"


def test_a_new_champion_answers_the_next_forecast(tiny, place, store) -> None:
    catalogue = Catalogue(place, store)
    point_at(place, bring(tiny, place))
    first = catalogue.forecast("tiny")
    newer = reseal(tiny.release, place, note("another"))
    point_at(place, newer)
    second = catalogue.forecast("tiny")
    assert (first.forecast.release, second.forecast.release) == (tiny.release.name, newer.name)
    np.testing.assert_array_equal(first.forecast.quantiles, second.forecast.quantiles)


def test_old_answers_are_let_go(tiny, store, monkeypatch) -> None:
    catalogue = Catalogue(tiny.home, store)
    times = tiny.builder.times(tiny.origins[:5])
    size = catalogue.forecast("tiny", times[0]).nbytes
    forecast = catalogue.forecast("tiny", times[0]).forecast
    assert forecast.exceedance is not None
    assert size > forecast.quantiles.nbytes + 2 * forecast.exceedance.nbytes
    monkeypatch.setattr(module, "MOST_BYTES", 3 * size)
    answers = [catalogue.forecast("tiny", init) for init in times]
    assert len(catalogue._answers) == 3
    assert catalogue._bytes == sum(answer.nbytes for answer in catalogue._answers.values())
    assert catalogue.forecast("tiny", times[4]) is answers[4]
    assert catalogue.forecast("tiny", times[0]) is not answers[0]
