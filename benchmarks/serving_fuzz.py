"""What a fuzzer that reads the OpenAPI document finds: 5xx, or answers that break the contract.

    FELSINA_HOME=HOME python -m benchmarks.serving_fuzz --minutes 30

A real server over a copy of HOME's releases and observations is asked by schemathesis with a key
that may do everything. Exits 1 where something is found, with the requests that show it. What the
fuzzer makes up is kept, or changed to names, nodes and times that are served, half of the time
each, so that it comes past the first refusal.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

_CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
    "negative_data_rejection",
)
_KNOWN = "FELSINA_FUZZ"


def fuzz(url: str, secret: str, seconds: int, seed: int) -> subprocess.CompletedProcess[str]:
    """Ask a server for so many seconds; the exit code is 0 where nothing was found."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            *("-c", "from schemathesis.cli import schemathesis; schemathesis()"),
            *("run", f"{url}/openapi.json", "--header", f"Authorization: Bearer {secret}"),
            *("--max-time", str(seconds), "--seed", str(seed), "--checks", ",".join(_CHECKS)),
            *("--continue-on-failure", "--no-shrink", "--request-timeout", "30"),
        ]
        known = {
            _KNOWN: json.dumps(_known(url, secret)),
            "SCHEMATHESIS_HOOKS": "benchmarks.serving_fuzz",
        }
        paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        return subprocess.run(
            command,
            cwd=folder,
            env=os.environ | known | {"PYTHONPATH": os.pathsep.join(paths)},
            capture_output=True,
            text=True,
            check=False,
        )


def _known(url: str, secret: str) -> dict[str, Any]:
    """Dataset to nodes, forcings and times; surrogates."""

    def fetch(path: str) -> Any:
        request = urllib.request.Request(url + path, headers={"authorization": f"Bearer {secret}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    datasets = {}
    for name in (d["name"] for d in fetch("/v1/datasets")["datasets"]):
        detail = fetch(f"/v1/datasets/{name}")
        datasets[name] = {
            "nodes": [node["id"] for node in detail["node_list"]],
            "forcings": [forcing["name"] for forcing in detail["forcings"]],
            "times": fetch(f"/v1/observations/{name}?last=50")["times"],
        }
    surrogates = [one["release"] for one in fetch("/v1/scenarios")["surrogates"]]
    return {"datasets": datasets, "surrogates": surrogates}


def _register(known: dict[str, Any]) -> None:
    """Tell schemathesis how to put what is served in the place of what it made up."""
    import schemathesis

    datasets, surrogates = known["datasets"], known["surrogates"]

    def one_of(choices: Any, given: object) -> Any:
        """A choice, or what was given; the same each time for the same."""
        number = sum(repr(given).encode())
        choices = list(choices)
        return choices[number // 2 % len(choices)] if number % 2 and choices else given

    def body(given: Any) -> Any:
        number = sum(repr(given).encode())
        if number % 3 == 0:
            return given
        about = list(datasets.values())[number // 3 % len(datasets)]
        columns = about["nodes" if number % 3 == 1 else "forcings"][:3]
        values = {column: [1.0, None, 2.5] for column in columns}
        return given | {"times": about["times"][-3:], "values": values}

    @schemathesis.hook
    def map_case(context: Any, case: Any) -> Any:
        if not case.meta.generation.mode.is_positive:
            return case  # what is wrong on purpose stays wrong
        for name, choices in (("dataset", datasets), ("release", surrogates), ("name", datasets)):
            if name in (case.path_parameters or {}):
                case.path_parameters[name] = one_of(choices, case.path_parameters[name])
        about = list(datasets.values())[len(repr(case.query)) % len(datasets)]
        for name, part in (("nodes", "nodes"), ("init_time", "times")):
            if name in (case.query or {}):
                case.query[name] = one_of(about[part], case.query[name])
        if isinstance(case.body, dict) and {"times", "values"} <= case.body.keys():
            case.body = body(case.body)
        return case


def main() -> None:
    """Start a server, fuzz it, end it."""
    from benchmarks.loading import serving
    from pipelines.settings import home

    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serving(home(), Path(folder), 2) as served:
        url, seconds = f"http://127.0.0.1:{served.port}", int(60 * options.minutes)
        done = fuzz(url, served.secret, seconds, options.seed)
    print(done.stdout, done.stderr)
    sys.exit(done.returncode)


if _KNOWN in os.environ:
    _register(json.loads(os.environ[_KNOWN]))
if __name__ == "__main__":
    main()
