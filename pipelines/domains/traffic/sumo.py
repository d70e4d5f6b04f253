"""One run of SUMO, headless: a scenario folder, an intervention and a seed to a table of edges.

Drivers keep their routes; only those whose route is closed leave it, for the quickest way by the
travel times of the moment. The same options are used with measures and without.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import xml.etree.ElementTree as ET
from dataclasses import asdict
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from models.contracts import FelsinaError
from models.record import canonical_json, sha256_bytes
from pipelines.domains.traffic.measures import Intervention
from pipelines.domains.traffic.network import Network
from pipelines.domains.traffic.recording import PERIOD, Run, Span, keep, kept
from pipelines.domains.traffic.trips import with_timetables, without_closed

_MADE_BY = 1
"""Raised when runs come out otherwise, so that kept ones are made anew."""
_ROUTING = {"probability": "1", "period": "0", "pre-period": "0"}
"""Vehicles know current travel times but are not rerouted by them unless a closure asks."""


def sumo_home() -> Path:
    """Folder of the installed SUMO; without one, says how to install it."""
    found = find_spec("sumo")
    places = found.submodule_search_locations if found else None
    if not places or not (Path(places[0]) / "bin").is_dir():
        raise FelsinaError("traffic scenarios need SUMO; pip install 'felsina[traffic]'")
    return Path(places[0])


def run_tool(name: str, arguments: list[str], folder: Path) -> str:
    """Run one of SUMO's programs in a folder and return what it said; an error is one line."""
    home = sumo_home()
    environment = os.environ | {"SUMO_HOME": str(home), "PROJ_DATA": str(home / "data" / "proj")}
    done = subprocess.run(
        [home / "bin" / name, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("Error")]
        reason = said[0] if said else f"exit status {done.returncode}"
        raise FelsinaError(f"{name}: {reason}; mend the scenario folder's files")
    return done.stdout + done.stderr


def run_key(network: Network, change: Intervention, span: Span) -> str:
    """Digest of all that decides a run, but its seed."""
    record = {
        "network": network.digest,
        "change": asdict(change),
        "span": asdict(span),
        "sumo": version("eclipse-sumo"),
        "made_by": _MADE_BY,
    }
    return sha256_bytes(canonical_json(record))


def simulate(network: Network, change: Intervention, seed: int, span: Span, folder: Path) -> Run:
    """Run SUMO once, or read the run where ``folder`` has it.

    Args:
        network: the scenario.
        change: what is different from it.
        seed: of the simulator's random numbers.
        span: what is simulated and measured.
        folder: of runs, each in a folder of its own; an unfinished one is made anew.
    """
    place = folder / f"{run_key(network, change, span)[:12]}-seed-{seed}"
    if not place.is_dir():
        part = folder / f".{place.name}"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        removed, said = _run(network, change, seed, span, part)
        keep(network, span, part, removed, said)
        part.rename(place)
    return kept(place)


def _run(
    network: Network, change: Intervention, seed: int, span: Span, folder: Path
) -> tuple[int, str]:
    """Write the inputs that a run changes, run it, and return trips removed and what it said."""
    inputs = folder / "inputs"
    inputs.mkdir()
    routes, additional, removed = list(network.routes), [], 0
    if change.closed:
        removed = without_closed(network, routes, change, inputs)
        routes = [inputs / path.name for path in routes]
    for path in network.additional:  # copied, since what they write goes where they lie
        additional.append(folder / path.name)
        shutil.copyfile(path, additional[-1])
    if change.demand != 1:
        for path in (*routes, *additional):
            copy = (inputs if path in routes else folder) / path.name
            with_timetables(path, change.demand, copy)
        routes = [inputs / path.name for path in routes]
    additional.append(folder / "measures.xml")
    ET.ElementTree(_outputs_and_measures(network, change, span)).write(additional[-1])
    arguments = ["-n", str(network.net.resolve()), "--no-step-log", "--seed", str(seed)]
    arguments += ["-r", ",".join(str(path.resolve()) for path in routes)]
    arguments += ["-a", ",".join(path.name for path in additional)]
    arguments += ["--begin", str(span.begin), "--end", str(span.end), "--scale", str(change.demand)]
    arguments += ["--statistic-output", "statistics.xml", "--summary-output", "summary.xml"]
    for key, value in _ROUTING.items():
        arguments += [f"--device.rerouting.{key}", value]
    if change.closed:
        arguments += ["--ignore-route-errors"]
    return removed, run_tool("sumo", arguments, folder)


def _outputs_and_measures(network: Network, change: Intervention, span: Span) -> ET.Element:
    """SUMO's additional file of a run."""
    root = ET.Element("additional")
    start, end = str(span.begin + span.warm_up), str(span.end)
    for name in ("traffic", "emissions"):
        kind = {} if name == "traffic" else {"type": name}
        measured = {"begin": start, "end": end, "period": str(PERIOD), "withInternal": "true"}
        ET.SubElement(
            root, "edgeData", {"id": name, "file": f"measured-{name}.xml", **measured, **kind}
        )
    for speed in sorted(set(change.speed_limits.values())):
        lanes = " ".join(lane for lane, limit in change.speed_limits.items() if limit == speed)
        sign = ET.SubElement(root, "variableSpeedSign", id=f"limit-{speed}", lanes=lanes)
        ET.SubElement(sign, "step", time=str(span.begin), speed=str(speed))
    always = {"begin": str(span.begin), "end": end}
    if change.closed:
        router = ET.SubElement(root, "rerouter", id="closure", edges=" ".join(network.edges))
        interval = ET.SubElement(router, "interval", always)
        for edge in change.closed:
            ET.SubElement(interval, "closingReroute", id=edge)
    for lane, vehicle_class in change.taken.items():
        edge = network.lanes[lane].edge
        router = ET.SubElement(root, "rerouter", id=f"taken-{lane}", edges=edge)
        interval = ET.SubElement(router, "interval", always)
        ET.SubElement(interval, "closingLaneReroute", id=lane, allow=vehicle_class)
    return root
