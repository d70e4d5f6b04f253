"""Per-unit gradients from one backward pass, formed only where that costs less than it saves.

For every layer that owns weights it is recorded what went in and the loss's gradient at what came
out. From these follow each unit's norm and, by the same products as an ordinary gradient's, the
clipped sum (Bu et al. 2023, arXiv 2210.00038). A norm needs inner products of rows alone where a
unit has fewer rows than its gradient has columns (Goodfellow 2015, arXiv 1510.01799).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

Calls = list[tuple[Tensor, Tensor]]
"""A layer's inputs and output gradients, each time that it was used."""
_UNCERTAIN = 4e-6
"""Share of the lengths of a unit's products by which their sum may be off in 32 bit."""
_MOST = 1e30
"""Longer products than this count as not finite: clipped, they would be rounded away."""


class Products(Protocol):
    """Gradients of one layer's weights, unit by unit."""

    def formed(self) -> dict[str, Tensor]:
        """Parameter's name to [U, ...]."""
        ...

    def square(self) -> Tensor:
        """[U] squared norm, in 64 bit."""
        ...

    def length(self) -> Tensor:
        """[U] sum of the norms of what is added up."""
        ...

    def total(self, factors: Tensor) -> dict[str, Tensor]:
        """Sum weighed by ``factors`` [U]; a unit of factor 0 is left out, whatever it holds."""
        ...


class LayerRecords:
    """Records of a network's layers over one backward pass.

    Parameters take no gradient while it records, which spares the products of the ordinary one.

    Args:
        network: of Linear, Embedding and LayerNorm, whose first dimension is the window.
    """

    def __init__(self, network: nn.Module) -> None:
        owned = {layer: dict(layer.named_parameters(recurse=False)) for layer in network.modules()}
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        place = {id(parameter): number for number, parameter in enumerate(self.parameters)}
        self.layers = {
            layer: {name: place[id(p)] for name, p in parameters.items()}
            for layer, parameters in owned.items()
            if parameters
        }
        self._calls: dict[nn.Module, Calls] = {}
        self._recording = False
        for layer in self.layers:
            layer.register_forward_hook(self._note)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Within it, run the network forward and backward once."""
        self._calls = {layer: [] for layer in self.layers}
        self._recording = True
        for parameter in self.parameters:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            self._recording = False
            for parameter in self.parameters:
                parameter.requires_grad_(True)

    def _note(self, layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor | None:
        if not self._recording:
            return None
        given = inputs[0].detach()
        if not output.requires_grad:
            output = output.detach().requires_grad_()
        output.register_hook(lambda gradient: self._calls[layer].append((given, gradient)))
        return output

    def units(self, owner: Tensor, units: int) -> UnitGradientSum:
        """What was recorded, unit by unit.

        Args:
            owner: [B] unit of each window, in rising order.
            units: U.
        """
        products = [
            (places, _products(layer, self._calls[layer], _Folding(owner, units)))
            for layer, places in self.layers.items()
            if self._calls[layer]
        ]
        self._calls = {}
        return UnitGradientSum(self.parameters, products, units)


class UnitGradientSum:
    """Gradients of units that are carried out as late as can be.

    Args:
        parameters: of the network.
        products: of each layer that was used, with the places of its parameters among those.
        units: U.
    """

    def __init__(
        self,
        parameters: list[nn.Parameter],
        products: list[tuple[dict[str, int], Products]],
        units: int,
    ) -> None:
        self.parameters, self.products, self.units = parameters, products, units

    def formed(self) -> Tensor:
        """[U, P]."""
        sizes = [parameter.numel() for parameter in self.parameters]
        found = torch.zeros(self.units, sum(sizes))
        columns = found.split(sizes, dim=1)
        for places, products in self.products:
            for name, gradients in products.formed().items():
                columns[places[name]].copy_(gradients.flatten(1))
        return found

    def clipped_total(self, clip_norm: float) -> Tensor:
        """Sum [P] of the gradients, none of which counts with more than ``clip_norm``.

        A norm is raised by what rounding may add to it, however much a unit's products cancel, and
        one that is not finite makes a unit count as 0. Either rule looks at one unit alone, so the
        sum's sensitivity is the clip norm whatever the values are.
        """
        square = torch.zeros(self.units, dtype=torch.float64)
        length = torch.zeros(self.units, dtype=torch.float64)
        for _, products in self.products:
            square += products.square()
            length += products.length()
        norm = square.sqrt() + _UNCERTAIN * length
        sound = (norm < _MOST) & (length < _MOST)
        factors = clip_norm / torch.where(sound, norm, 0.0).clamp(min=clip_norm)
        factors = torch.where(sound, factors, 0.0).float()
        found = [torch.zeros_like(parameter) for parameter in self.parameters]
        for places, products in self.products:
            for name, total in products.total(factors).items():
                found[places[name]] = total
        return torch.cat([total.flatten() for total in found])


class _Folding:
    """Windows to units.

    Args:
        owner: [B] unit of each window, in rising order.
        units: U.
    """

    def __init__(self, owner: Tensor, units: int) -> None:
        windows = torch.bincount(owner, minlength=units)
        self.owner, self.units, self.most = owner, units, int(windows.max())
        self.alike = bool((windows == self.most).all())
        self.slot = torch.arange(len(owner)) - (windows.cumsum(0) - windows)[owner]

    def __call__(self, part: Tensor, width: int) -> Tensor:
        """[U, rows, width] of [B, ..., width]; windows that a unit lacks are nought."""
        rows = part.reshape(len(self.owner), -1, width)
        if not self.alike:
            padded = rows.new_zeros(self.units, self.most, *rows.shape[1:])
            padded[self.owner, self.slot] = rows
            rows = padded
        return rows.reshape(self.units, -1, width)


class _Formed:
    """Gradients that are carried out: of few weights, or of units with many rows."""

    def __init__(self, gradients: dict[str, Tensor], length: Tensor) -> None:
        self._gradients, self._length = gradients, length

    def formed(self) -> dict[str, Tensor]:
        return self._gradients

    def square(self) -> Tensor:
        norms = [torch.linalg.vector_norm(g.flatten(1), dim=1) for g in self._gradients.values()]
        return torch.stack(norms).double().square().sum(0)

    def length(self) -> Tensor:
        return self._length

    def total(self, factors: Tensor) -> dict[str, Tensor]:
        kept = _kept(factors)
        return {
            name: (factors @ kept(gradients).flatten(1)).view(gradients.shape[1:])
            for name, gradients in self._gradients.items()
        }


class _Outer:
    """Gradients of a Linear's weight and bias as products of rows.

    Args:
        given: [U, R, inputs].
        back: [U, R, outputs] the loss's gradient at the output.
        bias: whether there is one.
    """

    def __init__(self, given: Tensor, back: Tensor, bias: bool) -> None:
        self._given, self._back, self._bias = given, back, bias

    def formed(self) -> dict[str, Tensor]:
        weight = {"weight": self._back.transpose(1, 2) @ self._given}
        return weight | {"bias": self._back.sum(1)} if self._bias else weight

    def square(self) -> Tensor:
        given, back = self._given.double(), self._back.double()
        inner = given @ given.transpose(1, 2) + float(self._bias)
        # Rounding may leave a sum of squares just below 0.
        return (inner * (back @ back.transpose(1, 2))).sum((1, 2)).clamp(min=0)

    def length(self) -> Tensor:
        return _lengths(self._given, self._back)

    def total(self, factors: Tensor) -> dict[str, Tensor]:
        kept = _kept(factors)
        given = kept(self._given).flatten(0, 1)
        back = (factors[:, None, None] * kept(self._back)).flatten(0, 1)
        weight = {"weight": back.T @ given}
        return weight | {"bias": back.sum(0)} if self._bias else weight


def _products(layer: nn.Module, calls: Calls, folded: _Folding) -> Products:
    """Of one layer's uses."""
    if isinstance(layer, nn.Linear):
        given = torch.cat([folded(x, layer.in_features) for x, _ in calls], dim=1)
        back = torch.cat([folded(g, layer.out_features) for _, g in calls], dim=1)
        outer = _Outer(given, back, layer.bias is not None)
        inner_rows = given.shape[1] * (layer.in_features + layer.out_features)
        if inner_rows < layer.in_features * layer.out_features:
            return outer
        return _Formed(outer.formed(), outer.length())
    if isinstance(layer, nn.LayerNorm):
        width = layer.normalized_shape[0]
        given = torch.cat([folded(x, width) for x, _ in calls], dim=1)
        back = torch.cat([folded(g, width) for _, g in calls], dim=1)
        normal = functional.layer_norm(given, (width,), eps=layer.eps)
        gradients = {"weight": (normal * back).sum(1), "bias": back.sum(1)}
        return _Formed(gradients, _lengths(normal, back))
    if isinstance(layer, nn.Embedding):
        rows = torch.cat([folded(x, 1) for x, _ in calls], dim=1)[..., 0]
        back = torch.cat([folded(g, layer.embedding_dim) for _, g in calls], dim=1)
        units, table = len(back), layer.num_embeddings
        places = (torch.arange(units)[:, None] * table + rows).flatten()
        found = back.new_zeros(units * table, layer.embedding_dim)
        found.index_add_(0, places, back.flatten(0, 1))
        length = torch.linalg.vector_norm(back, dim=2).sum(1)
        return _Formed({"weight": found.view(units, table, -1)}, length.double())
    raise TypeError(f"no gradients of units for {type(layer).__name__}")


def _lengths(given: Tensor, back: Tensor) -> Tensor:
    """[U] sum over rows [U, R, ...] of the norms of their outer products, with a bias beside."""
    inputs = torch.linalg.vector_norm(given, dim=2).double().square() + 1
    return (inputs.sqrt() * torch.linalg.vector_norm(back, dim=2)).sum(1)


def _kept(factors: Tensor) -> Callable[[Tensor], Tensor]:
    """Of [U, ...], units whose factor is 0 made nought: what they hold may be no number."""
    out = factors == 0
    if not out.any():
        return lambda part: part
    return lambda part: torch.where(out.view(-1, *[1] * (part.ndim - 1)), 0.0, part)
