"""``felsina up``, ``run`` and ``serve``."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

from models.contracts import FelsinaError
from pipelines.commands.terminal import Stages, answer, out, say, scores
from pipelines.settings import home, store_place
from serving.release import champions
from serving.store import Store

_MINUTES = 2
"""What one part of the embedded city takes on two cores, in round numbers."""

_GRACE = 5
"""Seconds for connections to close after the gate let what was in flight end."""


def run_all(
    dataset: Path | None,
    profile: str,
    seed: int,
    config: Path | None,
    assignments: list[str] | None,
    only_missing: bool,
    json: bool = False,
    like: Path | None = None,
) -> None:
    """Run the chain on one dataset folder, or on every part of the embedded city."""
    from pipelines.domains.registry import registered
    from pipelines.present import released

    place = home()
    embedded = {d.name: d for d in registered().values() if d.synthesise}
    wanted: list[Path | str] = [dataset] if dataset is not None else list(embedded)
    if only_missing and dataset is None:
        plain = not (config or assignments or seed or profile != "quick")
        wanted = [n for n in embedded if not (plain and released(place, embedded[n].embedded))]
        if wanted:
            say(
                f"The embedded city is synthetic. To make: {', '.join(map(str, wanted))}; about "
                f"{_MINUTES * len(wanted)} minutes on two cores, once."
            )
    if not wanted:
        return
    from pipelines.run import embedded_folder, run_chain

    records = []
    with Stages() as stages:
        for item in wanted:
            began = time.perf_counter()
            folder = item if isinstance(item, Path) else embedded_folder(embedded[item], place)
            release, report = run_chain(
                folder, place, stages, profile, seed, config, assignments, like
            )
            seconds = time.perf_counter() - began
            say(f"  released {release.name} in {seconds:.0f} s")
            records.append(
                {"release": str(release), "seconds": round(seconds, 1), "backtest": report}
            )
    if json:
        answer(records)
        return
    for record in records:
        out.print(scores(record["backtest"]))


def serve_home(port: int, workers: int = 1, anonymous: bool = True) -> None:
    """Become the BentoML server of every release under the home folder."""
    place = home()
    folders = champions(place)
    if not folders:
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
    Store(store_place())  # one that cannot be opened is refused here, in one line
    names = ", ".join(folder.name for folder in folders.values())
    say(f"Serving {names} on http://127.0.0.1:{port} (Ctrl-C ends it)")
    environment = os.environ | {
        "FELSINA_HOME": str(place),
        "FELSINA_STORE": str(store_place()),
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
