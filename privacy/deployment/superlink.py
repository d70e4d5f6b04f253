"""Flower's SuperLink as the city runs it: on loopback, with TLS and node keys, told by its own CLI.

Whoever reaches its control API may start runs and register nodes, so nobody but this machine does:
partners come through :mod:`privacy.deployment.proxy`. Telemetry, update checks and installation of
packages are off.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from models.errors import FelsinaError
from models.record import write_atomic

QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "PYTHONUNBUFFERED": "1",
}
_READY_S, _CLI_S, _END_S = 90.0, 120.0, 10.0
_CONNECTION, _STATE = "felsina", "state.db"
_PR_SET_PDEATHSIG = 1
_EPHEMERAL = 32_768
"""From this port on Linux takes those of outgoing connections."""


def free_port() -> int:
    """A port on loopback that nobody has, and that no outgoing connection takes meanwhile.

    Raises:
        FelsinaError: if a hundred were taken.
    """
    for _ in range(100):
        port = random.randrange(20_000, _EPHEMERAL)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise FelsinaError("a hundred ports of this machine are taken; end what holds them")


class SuperLink:
    """A SuperLink process and the commands that only its own machine may give.

    Args:
        folder: the city's: certificates are read there, the state is kept in ``superlink/``.
        environment: variables of the round loop that it starts.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder, self.state = folder, folder / "superlink"
        self.state.mkdir(exist_ok=True)
        tools = Path(sys.executable).parent
        self.environment = (
            dict(os.environ)
            | QUIET
            | {
                "PATH": os.pathsep.join([str(tools), os.environ.get("PATH", "")]),
                "FLWR_HOME": str(self.state / "flwr"),
            }
            | dict(environment)
        )
        self.tools, self.port = tools, 0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            FelsinaError: if it ends, or does not answer in time; its log has the reason.
        """
        self.port = free_port()
        log = self.state / "superlink.log"
        command = [
            str(self.tools / "flower-superlink"),
            *("--host", "127.0.0.1", "--port", str(self.port)),
            *("--ssl-ca-certfile", str(self.folder / "ca.crt")),
            *("--ssl-certfile", str(self.folder / "server.pem")),
            *("--ssl-keyfile", str(self.folder / "server.key")),
            *("--database", str(self.state / _STATE)),
            "--enable-supernode-auth",
            "--disable-runtime-dependency-installation",
        ]
        with log.open("ab") as stream:
            self.process = subprocess.Popen(
                command,
                cwd=self.state,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        write_atomic(self.state / "pid", str(self.process.pid).encode())
        self._write_connection()
        ends = time.monotonic() + _READY_S
        while not self._answers():
            if not self.alive or time.monotonic() > ends:
                self.stop()
                raise FelsinaError(f"the SuperLink does not answer; {log} has the reason")
            time.sleep(0.2)

    def stop(self) -> None:
        """End the process and what it started."""
        process, self.process = self.process, None
        if process is None:
            return
        for kind in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, kind)
                process.wait(_END_S)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
            break

    def register(self, key: Path, partner: str) -> int:
        """Let the node with this public key in; its number at the SuperLink."""
        said = self._cli("supernode", "register", str(key), _CONNECTION, "--name", partner)
        return int(said["node-id"])

    def nodes(self) -> dict[str, int]:
        """Public key (PEM) and number of each node that was let in.

        Flower's list has no keys in it, and a key is let in once: so it is read where it is kept.
        """
        where = f"{(self.state / _STATE).as_uri()}?mode=ro"
        with closing(sqlite3.connect(where, uri=True)) as state:
            rows = state.execute("SELECT public_key, node_id FROM node").fetchall()
        return {bytes(key).decode(): number % 2**64 for key, number in rows}

    def submit(self, bundle: Path) -> int:
        """Start the round loop of a bundle's folder; the run's number."""
        return int(self._cli("run", str(bundle), _CONNECTION)["run-id"])

    def _cli(self, *words: str) -> dict[str, Any]:
        command = [str(self.tools / "flwr"), *words, "--format", "json"]
        try:
            done = subprocess.run(
                command,
                cwd=self.state,
                env=self.environment,
                capture_output=True,
                text=True,
                timeout=_CLI_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise FelsinaError(f"flwr {words[0]} took over {_CLI_S:g} s; see its log") from error
        text = done.stdout[done.stdout.find("{") :]
        try:
            said = json.loads(text)
        except ValueError:
            said = {"success": False, "error-message": (done.stderr or done.stdout).strip()}
        if not said.get("success"):
            reason = " ".join(str(said.get("error-message", "no reason given")).split())
            raise FelsinaError(f"flwr {' '.join(words[:2])}: {reason[:300]}")
        return said

    def _write_connection(self) -> None:
        text = (
            f'[superlink]\ndefault = "{_CONNECTION}"\n\n[superlink.{_CONNECTION}]\n'
            f'address = "{self.address}"\nroot-certificates = "{self.folder / "ca.crt"}"\n'
        )
        home = self.state / "flwr"
        home.mkdir(exist_ok=True)
        write_atomic(home / "config.toml", text.encode())

    def _answers(self) -> bool:
        context = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
        try:
            with urllib.request.urlopen(
                f"https://{self.address}/health", timeout=2, context=context
            ):
                return True
        except urllib.error.HTTPError:
            return True  # whatever it says, it speaks
        except OSError:
            return False


def _end_with_parent() -> None:
    """In the child: a SuperLink whose city was killed would go on alone (Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
