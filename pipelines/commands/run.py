"""``felsina serve``, and the second half of ``up``."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from models.charter import read_charter
from models.contracts import FelsinaError
from pipelines.commands.terminal import say
from pipelines.settings import home, store_place
from serving.approvals import Approvals
from serving.release import champions, releases
from serving.store import Store

_GRACE = 5
"""Seconds for connections to close after the gate let what was in flight end."""


def serve_demo(port: int) -> None:
    """Serve what lies here under the home's own throw-away board, as every answer then says."""
    from pipelines.board import demo_board, demo_decide, read_board

    place = home()
    charter = demo_board(place)
    promoted = read_board(charter.parent).datasets()
    found = champions(place) | champions(place, surrogates=True)
    new = [folder.name for dataset, folder in found.items() if dataset not in promoted]
    demo_decide(place, new)
    _serve(port, 1, True, charter, demo=True)


def serve_home(
    port: int, workers: int = 1, anonymous: bool = True, board: Path | None = None
) -> None:
    """Serve what the board of a charter has approved."""
    if board is None:
        raise FelsinaError(
            "say whose decisions count: --board FILE names the ethics board's charter (felsina "
            "board init makes one); felsina up trusts a demo board of its own"
        )
    if read_charter(board).demo:
        raise FelsinaError(f"{board} is of a demo board, which felsina up alone trusts")
    _serve(port, workers, anonymous, board)


def _serve(port: int, workers: int, anonymous: bool, board: Path, demo: bool = False) -> None:
    """Become the BentoML server."""
    place = home()
    if not releases(place):
        raise FelsinaError(
            f"no release under {place / 'releases'}; make one with felsina run --dataset DIR"
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise FelsinaError(
                f"port {port} is taken ({error.strerror}); choose another with --port"
            ) from error
    store = Store(store_place())  # one that cannot be opened is refused here, in one line
    approvals = Approvals(place, board, store)
    allowed = [choice.allowed[0] for choice in approvals.choices().values() if choice.allowed]
    names = ", ".join(one.folder.name for one in allowed)
    if approvals.fault:
        say(f"Nothing may be served: {approvals.fault}")
    elif not allowed:
        say("Nothing may be served: no release is approved and promoted; felsina board status")
    say(f"Serving {names or 'nothing'} on http://127.0.0.1:{port} (Ctrl-C ends it)")
    environment = os.environ | {
        "FELSINA_HOME": str(place),
        "FELSINA_STORE": str(store_place()),
        "FELSINA_BOARD": str(board.resolve()),
        "FELSINA_DEMO": str(int(demo)),
        "FELSINA_WORKERS": str(workers),
        "FELSINA_ANONYMOUS": str(int(anonymous)),
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_HOME": str(place / "bentoml"),
    }
    root = str(Path(__file__).parents[2])
    command = [
        sys.executable,
        "-m",
        "bentoml",
        "serve",
        "serving.service:Felsina",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--timeout-graceful-shutdown",
        str(_GRACE),
        "--working-dir",
        root,
    ]
    sys.stdout.flush()
    os.execve(sys.executable, command, environment)
