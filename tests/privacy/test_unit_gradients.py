"""Gradients of units from records of layers: exact, and bounded whatever the rows are."""

import numpy as np
import pytest
import torch
from torch import nn

from privacy.unit_gradients import LayerRecords

WINDOWS, CLIP = 12, 0.5


class Network(nn.Module):
    """Each kind of layer, one of them used twice, rows above and below the size of a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 6)
        self.wide = nn.Linear(40, 30)
        self.narrow = nn.Linear(6, 6, bias=False)
        self.norm = nn.LayerNorm(6)
        self.down = nn.Linear(30, 6)
        self.unused = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
        """[B] of [B, 40] and [B, 7]."""
        wide = torch.tanh(self.wide(x))
        state = self.down(wide)[:, None] + self.table(kinds)
        state = self.norm(state + self.narrow(self.narrow(state)))
        return state.square().mean((1, 2)) * (1 + self.table(kinds[:, 0]).sum(1))


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return Network()


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(WINDOWS, 40), torch.randint(0, 5, (WINDOWS, 7))


def expected(network: Network, x: torch.Tensor, kinds: torch.Tensor, owner: torch.Tensor):
    """A loop over units, by ordinary differentiation."""
    rows = []
    for unit in range(int(owner.max()) + 1):
        mine = owner == unit
        loss = network(x[mine], kinds[mine]).sum()
        parts = torch.autograd.grad(loss, list(network.parameters()), allow_unused=True)
        pairs = zip(parts, network.parameters(), strict=True)
        rows.append(
            torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])
        )
    return torch.stack(rows)


def recorded(network, x, kinds, owner):
    records = LayerRecords(network)
    with records.recording():
        network(x, kinds).sum().backward()
    return records.units(owner, int(owner.max()) + 1)


@pytest.mark.parametrize("windows", [[1] * 12, [2] * 6, [4] * 3, [12], [1, 4, 2, 5]])
def test_they_are_those_of_a_loop(network, windows):
    owner = torch.repeat_interleave(torch.tensor(windows))
    found = recorded(network, *batch(), owner)
    truth = expected(network, *batch(), owner)
    torch.testing.assert_close(found.formed(), truth, rtol=1e-4, atol=1e-6)
    for clip in (1e-3, CLIP, 1e3):
        norm = truth.norm(dim=1, keepdim=True)
        whole = (truth * (clip / norm.clamp(min=clip))).sum(0)
        total = found.clipped_total(clip)
        torch.testing.assert_close(total, whole, rtol=1e-3, atol=1e-5 * float(whole.norm()))


def test_parameters_are_as_they_were(network):
    recorded(network, *batch(), torch.arange(WINDOWS))
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
    network(*batch()).sum().backward()
    assert network.wide.weight.grad is not None


def test_a_wild_unit_counts_as_nothing_and_leaves_the_others_alone(network):
    owner = torch.arange(WINDOWS)
    x, kinds = batch()
    calm = torch.ones(WINDOWS, dtype=torch.bool)
    calm[3:5] = False
    x[3], x[4] = torch.nan, torch.inf
    total = recorded(network, x, kinds, owner).clipped_total(CLIP)
    others = recorded(network, x[calm], kinds[calm], owner[: calm.sum()]).clipped_total(CLIP)
    torch.testing.assert_close(total, others, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e4, 1e12, 1e18, 1e25, 1e35])
@pytest.mark.parametrize("off", [0.0, 1e-7, 1e-5, 1e-3])
def test_products_that_cancel_do_not_pass_the_norm(scale, off):
    """Two rows of a unit that are nearly each other's opposite: rounding must not count extra."""
    rng = np.random.default_rng(0)
    layer = nn.Linear(64, 48)
    records = LayerRecords(layer)
    x = torch.as_tensor(rng.normal(size=(1, 64)) * scale, dtype=torch.float32).repeat(2, 1)
    x[1] += off * scale * torch.as_tensor(rng.normal(size=64), dtype=torch.float32)
    sign = torch.as_tensor(rng.normal(size=48), dtype=torch.float32)
    with records.recording():
        (layer(x) @ sign * torch.tensor([1.0, -1.0])).sum().backward()
    found = records.units(torch.zeros(2, dtype=torch.long), 1)
    assert found.clipped_total(CLIP).norm(dtype=torch.float64) <= CLIP * (1 + 1e-5)
