"""The private path: the same forecaster with what leaks taken out, and why the rest is refused.

No node embedding, no graph, no statistics across samples: each unit's gradient comes from its own
windows alone. Windows are normalised by their own past, so no scale is learned from private data;
forcings are city-wide and public. The backbone is a constant (last value, or the mean of the same
hour in earlier weeks) or a ridge fitted on a public dataset.
"""

from __future__ import annotations

import torch
from torch import nn

from models.contracts import FelsinaError, ForecastSpec
from models.forecaster import Architecture, Forecaster
from models.windows import WindowBuilder
from training.dataset import CityDataset
from training.ridge import fit_backbone

_EXACT = (nn.Linear, nn.Embedding, nn.LayerNorm)
"""Layers whose gradients of single samples are exact."""
_ACROSS_SAMPLES = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)


def check_architecture(architecture: Architecture) -> None:
    """Refuse a shape that learns of a node by name or hands its values to others."""
    if not architecture.inductive:
        raise FelsinaError(
            "architecture.inductive = false: a node's own embedding, scale and profile are learned "
            "from one household and published with the model; set it to true"
        )
    if architecture.graph:
        raise FelsinaError(
            "architecture.graph = true: neighbours' values would enter other units' gradients, so "
            "clipping a unit would not bound it; set it to false"
        )
    if architecture.dropout:
        raise FelsinaError(
            f"architecture.dropout = {architecture.dropout}: the noise regularises already, and a "
            "resumed run has to be the same; set it to 0"
        )


def check_layers(network: nn.Module) -> None:
    """Refuse layers that mix samples or whose gradients of single samples are not exact."""
    for name, layer in network.named_modules():
        kind = type(layer).__name__
        if isinstance(layer, _ACROSS_SAMPLES):
            raise FelsinaError(
                f"layer {name} ({kind}) keeps statistics across samples, so that one unit changes "
                "what the others give; use LayerNorm"
            )
        if isinstance(layer, nn.Embedding) and name.rpartition(".")[2] == "node":
            raise FelsinaError(f"layer {name} ({kind}) learns of each node by name; leave it out")
        owns = any(True for _ in layer.parameters(recurse=False))
        if owns and not isinstance(layer, _EXACT):
            known = ", ".join(layer.__name__ for layer in _EXACT)
            raise FelsinaError(
                f"layer {name} ({kind}): gradients of single samples are not exact; use {known}"
            )


def private_forecaster(
    dataset: CityDataset,
    builder: WindowBuilder,
    architecture: Architecture,
    public: CityDataset | None = None,
) -> Forecaster:
    """A forecaster that has seen nothing of the dataset but its city-wide forcings.

    Args:
        dataset: the private one.
        builder: of its windows, with lags.
        architecture: shape of the network.
        public: another dataset of the same spec whose series are public, for the backbone.
    """
    check_architecture(architecture)
    forecaster = Forecaster(builder.spec, dataset.graph, architecture)
    check_layers(forecaster)
    if public is None:
        forcings = torch.as_tensor(builder.forcings[: dataset.splits.train_end])
        nobody = torch.full((1, 1), torch.nan)
        forecaster.backbone.scaler.fit(nobody, forcings)
        return forecaster
    spec = builder.spec
    given = public.builder(public.spec.with_lags(spec.lags))
    _same_task(spec, given.spec, public)
    # Stand-ins are made in memory and have no digest.
    if public.digests["series.parquet"] == dataset.digests.get("series.parquet"):
        raise FelsinaError(f"{public.folder} holds the private series; give other, public ones")
    fit_backbone(
        forecaster.backbone, given, public.splits.train_end, public.splits.train(given.spec)
    )
    return forecaster


def _same_task(spec: ForecastSpec, given: ForecastSpec, public: CityDataset) -> None:
    for name in ("unit", "step", "lookback", "horizon", "forcings", "quantiles"):
        if getattr(spec, name) != getattr(given, name):
            raise FelsinaError(
                f"{public.folder}: {name} {getattr(given, name)} is not the private dataset's "
                f"{getattr(spec, name)}; a public backbone needs the same"
            )
