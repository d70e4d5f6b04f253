"""The BentoML service: it hosts the process, the API is mounted in it.

Run by ``felsina serve``; ``FELSINA_HOME`` names the ``mlruns`` folder and ``FELSINA_STORE`` the
database of observations, a SQLAlchemy URL or a path.
"""

from __future__ import annotations

import os
from pathlib import Path

import bentoml

from serving.alerts.watch import Watch
from serving.api import create_app
from serving.catalogue import Catalogue
from serving.store import Store

_home = Path(os.environ.get("FELSINA_HOME", "mlruns"))
_place = os.environ.get("FELSINA_STORE", str(_home / "observations.db"))
_catalogue = Catalogue(_home, Store(_place if "://" in _place else Path(_place)))


@bentoml.service(
    name="felsina", workers=1, threads=4, traffic={"timeout": 30, "max_concurrency": 64}
)
@bentoml.asgi_app(create_app(_catalogue), path="/")
class Felsina:
    """Forecasts from verified releases."""

    def __init__(self) -> None:
        Watch(_catalogue).start()

    def __is_ready__(self) -> bool:
        """Ready once a release is verified and loaded."""
        return bool(_catalogue.runtimes())
