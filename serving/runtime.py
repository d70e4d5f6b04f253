"""A release in ONNX Runtime: from the held observations of one init time to a forecast."""

from __future__ import annotations

import numpy as np

from models.contracts import Forecast, Window
from models.exported import open_session, predictor
from models.windows import WindowBuilder
from serving.release import MODEL, Release


class Runtime:
    """Runs a release's graph, one thread a call, as it was backtested.

    Args:
        release: verified.
    """

    def __init__(self, release: Release) -> None:
        self.release = release
        session = open_session(release.folder / MODEL)
        self.predict = predictor(session)
        shapes = {node.name: node.shape for node in session.get_inputs()}
        self.forcing_places = int(shapes["past_forcings"][2]) if "past_forcings" in shapes else 1
        """M: the number of places at which forcings are given, 1 for city-wide ones."""

    def forecast(self, builder: WindowBuilder, window: Window, origin: int) -> Forecast:
        """The forecast of a single window whose last observation is row ``origin``."""
        spec = self.release.spec
        leads = origin + np.arange(1, spec.horizon + 1)
        return Forecast(
            quantiles=self.predict(window)[0],
            levels=spec.quantiles,
            init_time=builder.times(np.array([origin]))[0],
            valid_times=builder.times(leads),
            unit=spec.unit,
            release=self.release.id,
            observed_fraction=1 - np.isnan(window.past[0]).mean(axis=0),
        )
