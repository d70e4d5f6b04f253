"""Felsina's forecasts as numpy arrays, for apps. Needs httpx and numpy, and nothing of Felsina.

from felsina_client import Felsina

with Felsina("http://127.0.0.1:3000") as felsina:
    forecast = felsina.forecast("embedded-flood", nodes=["alta"])
    forecast.at(0.9)[:, 0]  # the stage at Alta stays below it nine times in ten, by lead
"""

from felsina_client.answers import Event, Forecast, Members, Scenarios
from felsina_client.client import Felsina
from felsina_client.sending import FelsinaError, Refused, Unreachable

__all__ = [
    "Event",
    "Felsina",
    "FelsinaError",
    "Forecast",
    "Members",
    "Refused",
    "Scenarios",
    "Unreachable",
]
