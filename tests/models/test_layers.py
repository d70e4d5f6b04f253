"""Propagation without weights, averages that cover, and blocks that keep their input."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models import layers
from models.contracts import CityGraph
from models.layers import Diffusion, ResidualBlock, log_bins, padded_neighbours
from tests.factories import make_graph


def random_graph(seed: int, nodes: int, edges: int) -> CityGraph:
    """Random directed edges, self loops and repeated ones among them."""
    rng = np.random.default_rng(seed)
    return replace(
        make_graph(nodes),
        source=rng.integers(0, nodes, edges),
        target=rng.integers(0, nodes, edges),
        weight=rng.uniform(0.1, 2, edges).astype(np.float32),
    )


def plain_walk(graph: CityGraph, x: np.ndarray, forward: bool) -> np.ndarray:
    giver, taker = (graph.source, graph.target) if forward else (graph.target, graph.source)
    out = np.zeros_like(x)
    for n in range(graph.nodes):
        into = taker == n
        if into.any():
            share = graph.weight[into] / graph.weight[into].sum()
            out[:, n] = np.einsum("e,bef->bf", share, x[:, giver[into]])
    return out


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 12), st.integers(1, 40), st.integers(1, 3))
def test_dense_product_gather_and_plain_sums_agree(seed, nodes, edges, hops):
    graph = random_graph(seed, nodes, edges)
    x = torch.randn(2, nodes, 3, generator=torch.Generator().manual_seed(seed))
    dense = Diffusion(graph, hops)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layers, "DENSE_NODES", 0)
        gather = Diffusion(graph, hops)
    assert dense.dense
    assert not gather.dense
    parts = []
    for forward in (True, False):
        walked = x.numpy()
        for _ in range(hops):
            walked = plain_walk(graph, walked, forward)
            parts.append(walked)
    expected = torch.as_tensor(np.concatenate(parts, axis=-1))
    assert dense(x).shape[-1] == 3 * dense.channels
    torch.testing.assert_close(dense(x), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gather(x), expected, rtol=1e-4, atol=1e-5)


def test_a_random_walk_keeps_a_constant_where_something_comes_in():
    graph = make_graph(6)
    torch.testing.assert_close(Diffusion(graph)(torch.ones(1, 6, 1)), torch.ones(1, 6, 4))
    lonely = replace(
        graph, source=np.array([0]), target=np.array([1]), weight=np.ones(1, np.float32)
    )
    along = Diffusion(lonely, hops=1)(torch.ones(1, 6, 1))[0, :, 0]
    assert along.tolist() == [0, 1, 0, 0, 0, 0]


def test_along_and_against_are_two_directions():
    graph = replace(
        make_graph(3), source=np.array([0]), target=np.array([2]), weight=np.ones(1, np.float32)
    )
    x = torch.tensor([[[5.0], [6.0], [7.0]]])
    assert Diffusion(graph, hops=1)(x)[0].tolist() == [[0, 7], [0, 0], [5, 0]]


def test_propagation_owns_no_weights():
    assert not list(Diffusion(make_graph()).parameters())


def test_padding_shares_nothing():
    giver, taker = torch.tensor([0, 1, 2]), torch.tensor([2, 2, 0])
    neighbours, shares = padded_neighbours(giver, taker, torch.tensor([1.0, 3.0, 5.0]), 4)
    assert neighbours.shape == (4, 2)
    torch.testing.assert_close(shares[2], torch.tensor([0.25, 0.75]))
    assert neighbours[2].tolist() == [0, 1]
    torch.testing.assert_close(shares[0].sum(), torch.tensor(1.0))
    assert shares[[1, 3]].sum() == 0
    assert int(neighbours.max()) < 4


@given(st.integers(1, 700))
@settings(max_examples=60, deadline=None)
def test_log_bins_are_averages_that_cover_each_step_once(steps):
    bins = log_bins(steps)
    assert bins.shape[0] == steps
    torch.testing.assert_close(bins.sum(0), torch.ones(bins.shape[1]))
    assert ((bins > 0).sum(1) == 1).all()
    assert bins.shape[1] == 1 + int(np.ceil(np.log2(steps)))
    sizes = (bins > 0).sum(0).tolist()
    assert sizes[0] == 1
    assert bins[-1, 0] == 1
    assert all(b <= 2 * sum(sizes[: j + 1]) for j, b in enumerate(sizes[1:]))


def test_log_bins_look_nearest_first():
    bins = log_bins(6)
    assert bins.T.tolist() == [
        [0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 1, 0],
        [0, 0, 0.5, 0.5, 0, 0],
        [0.5, 0.5, 0, 0, 0, 0],
    ]


def test_a_residual_block_adds_to_its_input():
    block = ResidualBlock(8, 0.5).eval()
    x = torch.randn(2, 3, 8)
    torch.testing.assert_close(block(x) - x, block.body(x))
    torch.nn.init.zeros_(block.body[-1].weight)
    torch.nn.init.zeros_(block.body[-1].bias)
    assert torch.equal(block(x), x)
