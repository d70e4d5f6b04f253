"""The surrogate of a road network: routes, queues, and the network that corrects them."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from models.scenario import QUANTILES
from models.surrogates.edge_graph import CLOSED, FLOW, LANES, SPEED, SPEED_LIMIT, EdgeGraph
from models.surrogates.queue_network import Queues
from models.surrogates.street_routing import FASTER, Routing, Streets
from training.export import compare, export_module

IN, UPPER, LOWER, OUT, LANE = range(5)
"""Two ways from one street to another, and a street that nobody takes."""
EDGES, MIDDLE = 5, QUANTILES.index(0.5)


def make_streets(**changes: Any) -> Streets:
    """Cars by the upper way, buses by the lower, and some who heed no closure by the upper."""
    ways = (
        ((IN, UPPER, OUT), (IN, LOWER, OUT)),
        ((IN, LOWER, OUT), (IN, UPPER, OUT)),
        ((IN, UPPER, OUT),),
    )
    streets = Streets(
        length_m=np.array([300.0, 200.0, 250.0, 300.0, 100.0]),
        limit_m_s=np.full(EDGES, 13.9),
        lanes=np.array([2.0, 1.0, 1.0, 2.0, 1.0]),
        signal=np.array([1.0, 0.0, 0.0, 0.0, 0.0]),
        flow_veh_h=np.array([690.0, 650.0, 20.0, 670.0, 0.0]),
        speed_m_s=np.array([8.0, 9.0, 12.0, 11.0, 13.9]),
        fastest_m_s=np.array([9.0, 11.0, 12.0, 12.0, 13.9]),
        busiest_veh_h=np.array([900.0, 800.0, 700.0, 900.0, 0.0]),
        turns=np.array([[IN, UPPER], [IN, LOWER], [UPPER, OUT], [LOWER, OUT]]),
        trips_veh_h=np.array([600.0, 20.0, 80.0]),
        scaled=np.array([1.0, 0.0, 1.0]),
        bound=np.array([1.0, 1.0, 0.0]),
        ways=ways,
        steps=60,
        warm_up=20,
    )
    return replace(streets, **changes)


@pytest.fixture
def network() -> EdgeGraph:
    """With weights that say something."""
    torch.manual_seed(0)
    made = EdgeGraph(make_streets(), QUANTILES, width=16, rounds=2).eval()
    nn.init.normal_(made.head.weight, std=0.3)
    return made


def today(batch: int = 1) -> tuple[Tensor, Tensor]:
    streets = make_streets()
    columns = [streets.limit_m_s, np.zeros(EDGES), streets.lanes]
    asked = torch.tensor(np.stack(columns, axis=-1), dtype=torch.float32)
    return torch.ones(batch, 1), asked.repeat(batch, 1, 1)


def drawn(batch: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    scalars, asked = today(batch)
    asked[..., SPEED_LIMIT] *= torch.tensor(rng.uniform(0.4, 1, (batch, EDGES)).astype("f"))
    asked[:, UPPER, CLOSED] = torch.tensor(rng.integers(0, 2, batch).astype("f"))
    asked[:, IN, LANES] -= torch.tensor(rng.integers(0, 2, batch).astype("f"))
    return scalars * torch.tensor(rng.uniform(0.5, 1.15, (batch, 1)).astype("f")), asked


def test_without_measures_today_is_answered(network: EdgeGraph) -> None:
    median = network(*today(2))[..., MIDDLE]
    streets = make_streets()
    np.testing.assert_allclose(median[0, :, FLOW].detach(), streets.flow_veh_h, atol=1e-2)
    np.testing.assert_allclose(median[0, :, SPEED].detach(), streets.speed_m_s, atol=1e-4)


def test_quantiles_rise_and_stay_physical(network: EdgeGraph) -> None:
    scalars, asked = drawn(16)
    answered = network(scalars, asked)
    assert answered.shape == (16, EDGES, 2, len(QUANTILES))
    assert (answered.diff(dim=-1) >= 0).all()
    assert (answered >= 0).all()
    assert (answered[:, :, SPEED] <= 1.15 * asked[..., SPEED_LIMIT, None]).all()


def test_nobody_drives_a_closed_edge_but_those_who_heed_nothing(network: EdgeGraph) -> None:
    scalars, asked = today()
    asked[:, UPPER, CLOSED] = 1
    assert 0 < network(scalars, asked)[0, UPPER, FLOW].max() <= 80
    bound = EdgeGraph(make_streets(bound=np.ones(3)), QUANTILES, width=16, rounds=2).eval()
    nn.init.normal_(bound.head.weight, std=0.3)
    assert bound(scalars, asked)[0, UPPER, FLOW].max() == 0


def test_routing_keeps_every_trip_and_leaves_broken_ways() -> None:
    routing = Routing(make_streets())
    scalars, asked = drawn(8)
    routed = routing(scalars, asked[..., SPEED_LIMIT], asked[..., CLOSED])
    turns = torch.tensor(make_streets().turns)
    for side, ends in ((0, routed.leaving), (1, routed.entering)):
        sums = torch.zeros_like(routed.total).index_add(1, turns[:, side], routed.turns) + ends
        torch.testing.assert_close(sums, routed.total)
    one = torch.ones(1, 1)
    limit = torch.full((1, EDGES), 13.9)
    closed = torch.zeros(1, EDGES)
    closed[:, UPPER] = 1
    before, after = (routing(one, limit, shut).total[0] for shut in (0 * closed, closed))
    assert before.tolist() == pytest.approx([700, 680, 20, 700, 0])
    assert after.tolist() == pytest.approx([700, 80, 620, 700, 0])
    closed[:, LOWER] = 1  # no way is left: who is bound stays at home
    assert routing(one, limit, closed).total[0].tolist() == pytest.approx([80, 80, 0, 80, 0])
    assert routing(0.5 * one, limit, 0 * closed).total[0, LOWER].item() == pytest.approx(20)


def queued(limit: float = 13.9, lanes: float = 1.0, out: float = 1.0) -> Any:
    """An hour; ``lanes`` are left to the upper way, ``out`` is a factor on the last capacity."""
    streets = make_streets(steps=180, warm_up=45)
    limits = torch.full((1, EDGES), limit)
    left = torch.tensor(streets.lanes, dtype=torch.float32)[None]
    left[:, UPPER] = lanes
    queues = Queues(streets)
    with torch.inference_mode():
        queues.capacity_factor[OUT] = np.log(out) / FASTER
        return queues(Routing(streets)(torch.ones(1, 1), limits, 0 * limits), limits, left)


def test_free_traffic_flows_as_routed_and_a_bottleneck_spills_back() -> None:
    free = queued()
    assert free.flow[0].tolist() == pytest.approx([700, 680, 20, 700, 0], rel=0.03)
    assert free.backlog.max() < 1
    jam = queued(out=0.1)
    least = 0.1 * 1400
    assert least < jam.flow[0, OUT] < 1.5 * least  # it fills meanwhile
    assert jam.flow[0, UPPER] < 1.5 * least
    assert jam.filled[0, UPPER] > 0.8
    assert jam.backlog[0, IN] > 50
    assert jam.seconds[0, UPPER] > 5 * free.seconds[0, UPPER]


def test_a_lower_limit_takes_longer_and_lets_less_pass() -> None:
    fast, slow = queued(out=0.4), queued(out=0.4, limit=5.0)
    assert (slow.seconds > fast.seconds).all()
    assert slow.flow[0, OUT] < 0.9 * fast.flow[0, OUT]


def test_a_lost_lane_lets_less_pass() -> None:
    assert queued(lanes=0.2).flow[0, OUT] < 0.9 * queued().flow[0, OUT]


def test_edges_may_come_in_any_order(network: EdgeGraph) -> None:
    order = np.random.default_rng(1).permutation(EDGES)
    place = np.argsort(order)
    streets = make_streets()
    arrays = {
        field.name: getattr(streets, field.name)[order]
        for field in fields(Streets)
        if getattr(getattr(streets, field.name), "shape", None) == (EDGES,)
    }
    ways = tuple(tuple(tuple(int(place[e]) for e in w) for w in own) for own in streets.ways)
    other = EdgeGraph(
        replace(streets, **arrays, turns=place[streets.turns], ways=ways),
        QUANTILES,
        width=16,
        rounds=2,
    ).eval()
    state = {
        name: value[order] if value.shape[:1] == (EDGES,) else value
        for name, value in network.state_dict().items()
    }
    other.load_state_dict(state)
    scalars, asked = drawn(4)
    expected = network(scalars, asked)[:, order]
    torch.testing.assert_close(other(scalars, asked[:, order]), expected, rtol=1e-4, atol=1e-2)


def test_capacities_are_fitted(network: EdgeGraph) -> None:
    network.train()
    scalars, asked = drawn(4)
    network(scalars, asked).sum().backward()
    slope = network.queues.capacity_factor.grad
    assert slope is not None
    assert torch.isfinite(slope).all()
    assert slope.abs().max() > 0


def test_the_exported_graph_says_the_same_and_does_not_race(
    network: EdgeGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.export._REPEATS", 3)

    def draw(size: int) -> dict[str, np.ndarray]:
        scalars, asked = drawn(size)
        return {"scalars": scalars.numpy(), "fields": asked.numpy()}

    example = {name: torch.as_tensor(value) for name, value in draw(2).items()}
    export_module(network, example, tmp_path / "model.onnx")
    assert compare(network, tmp_path / "model.onnx", draw)["largest_relative_difference"] < 1e-4
    kinds = {node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node}
    assert "Loop" in kinds
    assert not {kind for kind in kinds if kind.startswith("Scatter")}
