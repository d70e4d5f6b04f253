"""The BentoML service: it hosts the process, the API is mounted in it.

Run by ``felsina serve``; ``FELSINA_HOME`` names the ``mlruns`` folder and ``FELSINA_STORE`` where
observations are held: a path of an sqlite file, or the URL of a PostgreSQL database.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

import bentoml

from serving.api import create_app
from serving.catalogue import Catalogue
from serving.retention import every_day
from serving.store import Store

_home = Path(os.environ.get("FELSINA_HOME", "mlruns"))
_catalogue = Catalogue(_home, Store(os.environ.get("FELSINA_STORE") or _home / "observations.db"))


@bentoml.service(
    name="felsina", workers=1, threads=4, traffic={"timeout": 30, "max_concurrency": 64}
)
@bentoml.asgi_app(create_app(_catalogue), path="/")
class Felsina:
    """Forecasts from verified releases."""

    def __init__(self) -> None:
        threading.Thread(target=every_day, args=(_catalogue,), daemon=True).start()

    def __is_ready__(self) -> bool:
        """Ready once a release is verified and loaded."""
        return bool(_catalogue.runtimes())
