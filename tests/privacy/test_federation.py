"""Partners cut out of a dataset: what leaves them, and that asking twice changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.contracts import FelsinaError
from privacy.federation import in_process, split_nodes, study
from privacy.guard import Guard
from privacy.local import LocalTrainer, federated, first_model, shared_names
from privacy.rounds import RoundSettings
from privacy.strategy import combined
from tests.factories import make_dataset, make_settings
from training.dataset import CityDataset, open_dataset

SETTINGS = federated(make_settings(accelerator="cpu"))
ROUNDS = 4


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> CityDataset:
    return open_dataset(make_dataset(tmp_path_factory.mktemp("datasets") / "tiny"))


def trainer(dataset: CityDataset, nodes: list[int], seed: int = 1) -> LocalTrainer:
    return LocalTrainer(dataset.part(np.array(nodes)), SETTINGS, ROUNDS, seed)


def initial(dataset: CityDataset) -> dict[str, np.ndarray]:
    spec = dataset.spec.with_lags(SETTINGS.lags)
    return first_model(spec, dataset.graph, SETTINGS.architecture, 0)


@pytest.mark.parametrize("by", ["nodes", "random"])
@pytest.mark.parametrize("partners", [1, 3, 4])
def test_each_node_has_one_partner_and_nobody_has_none(
    dataset: CityDataset, by: str, partners: int
) -> None:
    parts = split_nodes(dataset, partners, by)  # type: ignore[arg-type]
    assert sorted(np.concatenate(parts).tolist()) == list(range(dataset.graph.nodes))
    sizes = [len(part) for part in parts]
    assert len(sizes) == partners
    assert min(sizes) >= 1
    assert sizes == sorted(sizes, reverse=True)


def test_areas_stay_whole(dataset: CityDataset) -> None:
    areas = np.array(dataset.graph.areas)
    parts = split_nodes(dataset, 2, "area")
    assert not set(areas[parts[0]]) & set(areas[parts[1]])
    with pytest.raises(FelsinaError, match="areas for 5 partners; use --by nodes"):
        split_nodes(dataset, 5, "area")
    with pytest.raises(FelsinaError, match="4 nodes for 5 partners"):
        split_nodes(dataset, 5, "nodes")


def test_what_names_a_node_does_not_leave(dataset: CityDataset) -> None:
    own, arrays = trainer(dataset, [0, 1]), initial(dataset)
    step = own.update(1, arrays)
    assert step.keys() == arrays.keys()
    assert not [name for name in step if "backbone" in name or name.endswith("node.weight")]
    embedding = dict(own.forecaster.named_parameters())["members.0.node.weight"]
    assert embedding.shape[0] == 2
    assert "members.0.node.weight" not in shared_names(own.forecaster)
    # All partners send arrays of the same shapes, however many nodes they have.
    other = trainer(dataset, [0, 2, 3]).update(1, arrays)
    assert {n: v.shape for n, v in other.items()} == {n: v.shape for n, v in step.items()}


def test_a_round_asked_again_is_answered_the_same(dataset: CityDataset) -> None:
    arrays = initial(dataset)
    own = trainer(dataset, [0, 1])
    first = own.update(1, arrays)
    again = own.update(1, arrays)
    for name, values in first.items():
        np.testing.assert_array_equal(again[name], values)
    moved = {name: arrays[name] + first[name] for name in arrays}
    second = own.update(2, moved)
    other = trainer(dataset, [0, 1])
    other.update(1, arrays)
    for name, values in other.update(2, moved).items():
        np.testing.assert_array_equal(second[name], values)
    assert any((second[name] != first[name]).any() for name in first)


def test_partners_alike_make_the_update_of_one(dataset: CityDataset) -> None:
    arrays = initial(dataset)
    town = in_process({name: trainer(dataset, [0, 1]) for name in ("a", "b", "c")})
    replies = list(town.ask(1, 1, arrays))
    guard = Guard(1, {n: v.shape for n, v in arrays.items()}, {r.partner: 1e9 for r in replies})
    assert [guard.take(reply) for reply in replies] == [None] * 3
    one = combined(list(guard.accepted.values()))
    for name, values in trainer(dataset, [0, 1]).update(1, arrays).items():
        np.testing.assert_allclose(one[name], values, atol=1e-7)


def test_a_study_tells_each_partner_alone_together_and_pooled(
    dataset: CityDataset, tmp_path: Path
) -> None:
    told: list[int] = []
    standings, ended = study(
        dataset,
        make_settings(accelerator="cpu"),
        RoundSettings(rounds=ROUNDS),
        3,
        "nodes",
        tmp_path,
        lambda text, share: None,
        lambda round, body: told.append(round),
    )
    assert (ended.rounds, ended.reason) == (ROUNDS, "")
    assert told == [1, 2, 3, 4]
    assert [one.nodes for one in standings] == [2, 1, 1]
    for one in standings:
        assert 0 < one.together < 2 * one.alone
        assert 0 < one.pooled < 2 * one.alone


def test_more_rounds_than_steps_are_refused(dataset: CityDataset) -> None:
    with pytest.raises(FelsinaError, match="steps = 20 are fewer than the 21 rounds"):
        LocalTrainer(dataset, SETTINGS, 21, 0)
    with pytest.raises(FelsinaError, match="has no graph"):
        LocalTrainer(dataset, make_settings(), 2, 0)
