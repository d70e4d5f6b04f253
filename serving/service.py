"""The BentoML service: it hosts the processes, the API is mounted in it, the gate stands before.

Run by ``felsina serve``; ``FELSINA_HOME`` names the ``mlruns`` folder, ``FELSINA_STORE`` where
observations and keys are held (a path of an sqlite file, or the URL of a PostgreSQL database),
``FELSINA_BOARD`` the charter of the ethics board whose decisions count, without which the process
ends, ``FELSINA_WORKERS`` how many processes serve, each verifying releases and decisions itself,
and ``FELSINA_ANONYMOUS=0`` lets nobody read without a key.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
from pathlib import Path

import bentoml

from serving.alerts.watch import Watch
from serving.api import create_app
from serving.approvals import trusted
from serving.catalogue import Catalogue
from serving.gate import connection
from serving.gate.gate import Gate, anonymous_allowed
from serving.gate.metrics import log
from serving.gate.origins import Origins
from serving.gate.rules import methods_of
from serving.retention import every_day
from serving.store import Store

_home = Path(os.environ.get("FELSINA_HOME", "mlruns"))
_store = Store(os.environ.get("FELSINA_STORE") or _home / "observations.db")
_catalogue = Catalogue(_home, _store, trusted(_home, _store))
_app = create_app(_catalogue)


@bentoml.service(
    name="felsina",
    workers=int(os.environ.get("FELSINA_WORKERS", "1")),
    # The gate does all this, within bounds: BentoML labels metrics with whatever path was asked
    # for, logs addresses and refuses the page when models are busy. Its timeout cannot be left
    # out, and keeps a timer for each request until it is over: longer than the gate's, no more.
    traffic={"timeout": 60.0},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": "."},
)
@bentoml.asgi_app(_app, path="/")
class Felsina:
    """Forecasts from verified releases."""

    def __init__(self) -> None:
        _catalogue.runtimes()  # what is verified now stays in force if the stream is damaged
        Watch(_catalogue).start()
        threading.Thread(target=every_day, args=(_catalogue,), daemon=True).start()
        # A walk over everything took .2 s each ten seconds of load, and nobody was answered then:
        # what is here now stays as long as the process, and cycles among the rest are few.
        gc.collect()
        gc.freeze()
        gc.set_threshold(700, 10, 100)

    def __is_ready__(self) -> bool:
        """Ready once a release that the board approves is verified and loaded."""
        return bool(_catalogue.runtimes())


Felsina.add_asgi_middleware(Origins)  # pyright: ignore[reportArgumentType]  (as is the next)
Felsina.add_asgi_middleware(
    Gate,  # pyright: ignore[reportArgumentType]  (a class whose instance is the app)
    catalogue=_catalogue,
    routes=methods_of(_app.routes),
    anonymous=anonymous_allowed(),
)
connection.install()
_lines = logging.StreamHandler(sys.stdout)
_lines.setFormatter(logging.Formatter("%(message)s"))
log.addHandler(_lines)
log.setLevel(logging.INFO)
log.propagate = False
