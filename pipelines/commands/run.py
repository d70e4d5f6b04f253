"""``felsina up``, ``run`` and ``serve``."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

from models.board import BOARD, CHARTER
from models.charter import read_charter
from models.contracts import FelsinaError
from pipelines.commands.terminal import Stages, answer, out, say, scores
from pipelines.settings import home, store_place
from serving.approvals import Approvals
from serving.release import champions, releases
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
    if only_missing:
        from pipelines.board import demo_board

        demo_board(place)  # a home with a real board is refused before anything is made
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
            _report(folder, release, place, stages)
            seconds = time.perf_counter() - began
            say(f"  released {release.name} in {seconds:.0f} s")
            records.append(
                {"release": str(release), "seconds": round(seconds, 1), "backtest": report}
            )
    if json:
        answer(records)
    else:
        for record in records:
            out.print(scores(record["backtest"]))
    _next(place, [Path(record["release"]).name for record in records])


def _report(folder: Path, release: Path, place: Path, stages: Stages) -> None:
    """Write the report that the board reads, where there is none of this release."""
    from pipelines.prepare import open_registered
    from pipelines.present import RECORD, about_file, reports, served_now
    from pipelines.report import Inputs, build
    from serving.cases import published

    if (reports(place, release.name) / RECORD).is_file():
        return
    opened = open_registered(folder)
    name = opened.spec.dataset
    inputs = Inputs(
        release=release,
        dataset=opened,
        about=about_file(opened.spec.domain, name, opened.folder),
        champion=served_now(place, name, release.name),
        cases=tuple(published(Store(store_place()), name)),
    )
    _, record = build(inputs, place, False, lambda share: stages.progress("report", share))
    if record["missing"]:
        stages.say(
            f"the board's report lacks what people must write ({len(record['missing'])} parts; "
            "docs/report.md); without it the release cannot be promoted"
        )


def _next(place: Path, names: list[str]) -> None:
    """Let a demo board decide on new releases; else say what people do next."""
    from pipelines.board import demo_decide

    charter = place / BOARD / CHARTER
    if charter.is_file() and read_charter(charter).demo:
        demo_decide(place, names)
        return
    for name in names:
        say(f"Not served yet. The board reads {place / 'reports' / name / 'report.en.html'}")
        say(f"Each member: felsina board sign {name} --key KEY --approve|--reject")
        say(f"Then the operator: felsina promote {name} --key KEY")


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
