"""A release in ONNX Runtime: from the held observations of one init time to a forecast."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

import numpy as np

from models.adaptive import corrected
from models.contracts import FelsinaError, FloatArray, Forecast, Window
from models.exported import open_session, predictor
from models.joint import exceedance, load_template, members, within
from models.missing import widened
from models.mixture import mix
from models.windows import WindowBuilder
from serving.release import MEMBERS, MODEL, Approval, Release


class Runtime:
    """Runs a release's graph, one thread a call, as it was backtested.

    Args:
        release: verified.
    """

    def __init__(self, release: Release) -> None:
        self.session = open_session(release.contents[MODEL])
        missing = release.manifest["calibration"].get("missing")  # not in older releases
        self.predict = widened(predictor(self.session), missing, release.spec)
        shapes = {node.name: node.shape for node in self.session.get_inputs()}
        self.forcing_places = int(shapes["past_forcings"][2]) if "past_forcings" in shapes else 1
        """Number of places at which forcings are given, 1 for city-wide ones."""
        spec, graph = release.spec, release.graph
        self.template = load_template(
            release.folder / MEMBERS, spec.horizon, graph.nodes, release.contents[MEMBERS]
        )
        self.release = replace(release, contents={})  # which is open now; each would be held twice
        self._alert = np.flatnonzero(~np.isnan(graph.thresholds).all(axis=1))

    @property
    def sha256(self) -> str:
        """Of the release's manifest, which decisions sign."""
        return self.release.sha256

    @property
    def approval(self) -> Approval:
        """What stands behind the release."""
        return self.release.approval

    def under(self, approval: Approval) -> Runtime:
        """The same with what stands behind its release now; the graph stays open."""
        other = copy(self)
        other.release = replace(self.release, approval=approval)
        return other

    def forecast(
        self,
        builder: WindowBuilder,
        window: Window,
        origin: int,
        moved: FloatArray | None = None,
        static: FloatArray | None = None,
    ) -> Forecast:
        """The forecast of a window whose last observation is row ``origin``.

        Several windows are members of one ensemble, alike but for their forcings: their forecasts
        are mixed. ``moved`` [P, H, N] is the correction of the bands, if any; ``static`` [H, N, Q]
        is what the graph says of the window, where that is known already.
        """
        spec = self.release.spec
        leads = origin + np.arange(1, spec.horizon + 1)
        found = self.predict(window) if static is None else static[None]
        quantiles = mix(found, spec.quantiles) if len(found) > 1 else found[0]
        if moved is not None:
            quantiles = corrected(quantiles, moved, spec.quantiles, spec.nonnegative)
        at_lead, up_to_lead = self._exceedance(quantiles)
        return Forecast(
            quantiles=quantiles,
            levels=spec.quantiles,
            init_time=builder.times(np.array([origin]))[0],
            valid_times=builder.times(leads),
            unit=spec.unit,
            release=self.release.id,
            observed_fraction=1 - np.isnan(window.past[0]).mean(axis=0),
            exceedance=at_lead,
            exceedance_within=up_to_lead,
        )

    def _exceedance(self, quantiles: FloatArray) -> tuple[FloatArray, FloatArray]:
        """[H, N, 3] at each lead and at any lead up to it, NaN where there is no threshold."""
        spec, nodes, limits = self.release.spec, self._alert, self.release.graph.thresholds
        at_lead = np.full((*quantiles.shape[:2], limits.shape[1]), np.nan)
        up_to_lead = at_lead.copy()
        part = exceedance(quantiles[:, nodes], spec.quantiles, limits[nodes], spec.nonnegative)
        at_lead[:, nodes], up_to_lead[:, nodes] = part, within(part, self.template[:, :, nodes])
        return at_lead, up_to_lead

    def members(self, forecast: Forecast) -> FloatArray:
        """Joint members [M, H, N] of a forecast of this release.

        Raises:
            FelsinaError: if the release has no template; its manifest says why.
        """
        spec = self.release.spec
        if not len(self.template):
            reason = self.release.manifest["members"].get("left_out", "it has none")
            raise FelsinaError(f"release {self.release.id} has no joint members: {reason}")
        return members(forecast.quantiles, spec.quantiles, self.template, spec.nonnegative)
