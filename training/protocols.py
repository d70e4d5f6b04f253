"""Scores by which published benchmarks are compared, beside Felsina's own and on the same targets.

A dataset names its protocol in ``dataset.toml`` (``[evaluation] protocol``); a backtest then scores
every model's point forecast (the median, for Felsina) by it too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from models.contracts import FloatArray

if TYPE_CHECKING:
    from training.dataset import CityDataset

STEPS = (3, 6, 12)
"""Leads that road-speed tables list: 15, 30 and 60 minutes."""

Row = dict[str, Any]


class Moments:
    """Sums over origins from which every protocol's scores follow, each [H, N].

    Memory does not grow with the number of windows.

    Args:
        horizon: H.
        nodes: N.
    """

    def __init__(self, horizon: int, nodes: int) -> None:
        names = "count absolute square relative nonzero y yy p pp yp"
        self.sums = {name: np.zeros((horizon, nodes)) for name in names.split()}

    def update(self, point: FloatArray, target: FloatArray) -> None:
        """Add point forecasts [B, H, N] and what came true, NaN where nothing did."""
        seen = ~np.isnan(target)
        y, p = np.where(seen, target, 0).astype(float), np.where(seen, point, 0).astype(float)
        nonzero = y != 0
        error = np.abs(p - y)
        parts = {
            "count": seen,
            "absolute": error,
            "square": error**2,
            "relative": error / np.where(nonzero, np.abs(y), np.inf),
            "nonzero": nonzero,
            "y": y,
            "yy": y * y,
            "p": p,
            "pp": p * p,
            "yp": y * p,
        }
        for name, part in parts.items():
            self.sums[name] += part.sum(axis=0)


def masked(moments: Moments, deviation: FloatArray) -> list[Row]:
    """MAE, RMSE and MAPE over targets that exist, at steps 3, 6, 12 and over all steps pooled.

    Li et al. 2018 (DCRNN, arXiv 1707.01926) report the single steps; the PEMS tables since Song et
    al. 2020 (STSGCN, AAAI) report all steps at once. MAPE leaves out targets of exactly 0.
    """
    sums = moments.sums
    horizon = len(sums["count"])
    picked = {str(step): slice(step - 1, step) for step in STEPS if step <= horizon}
    rows = []
    for name, leads in (picked | {f"1-{horizon}": slice(None)}).items():
        total = {key: part[leads].sum() for key, part in sums.items()}
        rows.append(
            {
                "steps": name,
                "mae": _share(total["absolute"], total["count"]),
                "rmse": _share(total["square"], total["count"], root=True),
                "mape": _share(total["relative"], total["nonzero"]),
            }
        )
    return rows


def standardised(moments: Moments, deviation: FloatArray) -> list[Row]:
    """MSE and MAE in units of each node's train deviation, over all steps and nodes.

    Zhou et al. 2021 (Informer, arXiv 2012.07436) and the tables that followed it.
    """
    sums = moments.sums
    count = sums["count"].sum()
    return [
        {
            "steps": f"1-{len(sums['count'])}",
            "mse": _share((sums["square"] / deviation**2).sum(), count),
            "mae": _share((sums["absolute"] / deviation).sum(), count),
        }
    ]


def efficiency(moments: Moments, deviation: FloatArray) -> list[Row]:
    """Median and mean over nodes of NSE, and median of KGE, at each lead."""
    rows = []
    for lead, (nse, kge) in enumerate(zip(*node_efficiency(moments), strict=True), 1):
        known = nse[~np.isnan(nse)]
        rows.append(
            {
                "lead": lead,
                "nse_median": _middle(nse),
                "nse_mean": float(known.mean()) if len(known) else None,
                "kge_median": _middle(kge),
                "nodes": len(known),
            }
        )
    return rows


def node_efficiency(moments: Moments) -> tuple[FloatArray, FloatArray]:
    """NSE and KGE of each lead and node, [H, N]; NaN where the targets never vary.

    Nash and Sutcliffe 1970 (doi:10.1016/0022-1694(70)90255-6): one less the squared error over the
    variance of what came true, whose mean is that of the scored span. Kling-Gupta: Gupta et al.
    2009 (doi:10.1016/j.jhydrol.2009.08.003), of correlation, ratio of deviations, ratio of means.
    """
    sums = moments.sums
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = {key: sums[key] / sums["count"] for key in ("y", "yy", "p", "pp", "yp", "square")}
        var_y = mean["yy"] - mean["y"] ** 2
        var_p = np.maximum(mean["pp"] - mean["p"] ** 2, 0)
        varies = var_y > 1e-12 * mean["yy"]
        nse = 1 - mean["square"] / var_y
        # A constant forecast correlates with nothing.
        r = np.where(
            var_p > 1e-12 * mean["pp"],
            (mean["yp"] - mean["y"] * mean["p"]) / np.sqrt(var_y * var_p),
            0,
        )
        parts = (r - 1, np.sqrt(var_p / var_y) - 1, mean["p"] / mean["y"] - 1)
        kge = 1 - np.sqrt(sum(part**2 for part in parts))
        finite = varies & np.isfinite(kge)
        return np.where(varies, nse, np.nan), np.where(finite, kge, np.nan)


PROTOCOLS: dict[str, Callable[[Moments, FloatArray], list[Row]]] = {
    "masked": masked,
    "standardised": standardised,
    "efficiency": efficiency,
}
"""Protocol name to its scores, from moments and each node's train deviation [N]."""


class ProtocolScores:
    """The scores of a dataset's protocol for several models; none where it names no protocol."""

    def __init__(self, dataset: CityDataset) -> None:
        self.dataset = dataset
        self.moments: dict[str, Moments] = {}

    def update(self, model: str, point: FloatArray, target: FloatArray) -> None:
        """Add a model's point forecasts [B, H, N] and what came true."""
        if self.dataset.protocol:
            shape = self.dataset.spec.horizon, self.dataset.graph.nodes
            self.moments.setdefault(model, Moments(*shape)).update(point, target)

    def result(self) -> dict[str, Any]:
        """``protocol`` for the report: its name, rows a model, and for ``efficiency`` each node."""
        dataset = self.dataset
        if not dataset.protocol:
            return {}
        deviation = train_deviation(dataset.values[: dataset.splits.train_end])
        rows = [
            {"model": model} | row
            for model, moments in self.moments.items()
            for row in PROTOCOLS[dataset.protocol](moments, deviation)
        ]
        record: dict[str, Any] = {"name": dataset.protocol, "rows": rows}
        if dataset.protocol == "efficiency":
            scores = zip(
                *(part.T for part in node_efficiency(self.moments["felsina"])), strict=True
            )
            record["by_node"] = {
                node: {"nse": _numbers(nse), "kge": _numbers(kge)}
                for node, (nse, kge) in zip(dataset.graph.ids, scores, strict=True)
            }
        return {"protocol": record}


def train_deviation(values: FloatArray) -> FloatArray:
    """Standard deviation [N] of the train span [S, N] without Bessel's correction; 1 where none."""
    seen = ~np.isnan(values)
    count = np.maximum(seen.sum(axis=0), 1)
    filled = np.where(seen, values, 0).astype(float)
    spread = np.where(seen, filled - filled.sum(axis=0) / count, 0)
    deviation = np.sqrt((spread**2).sum(axis=0) / count)
    return np.where(deviation > 0, deviation, 1.0)


def _share(total: float, count: float, root: bool = False) -> float | None:
    if not count:
        return None
    return float(np.sqrt(total / count)) if root else float(total / count)


def _middle(values: FloatArray) -> float | None:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else None


def _numbers(values: FloatArray) -> list[float | None]:
    return [None if np.isnan(v) else float(v) for v in values]
