import numpy as np
import pytest
from starlette.testclient import TestClient

from models.record import sha256_file
from serving.api import create_app
from serving.catalogue import Catalogue
from serving.store import Store
from serving.surrogate import SurrogateRelease, load_surrogate
from tests.fixtures.greenhouse import SPEC, Sealed
from tests.serving.test_openapi import faults

URL = "/v1/scenarios/beds"
DEFAULT_SUN = [100.0, 200.0, 300.0]


@pytest.fixture
def beds(sealed: Sealed, empty_store: Store) -> TestClient:
    return TestClient(create_app(Catalogue(sealed.home, empty_store)))


def ask(client: TestClient, body, url: str = URL, **query):
    answer = client.post(url, json=body, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(client: TestClient, body, url: str = URL, status: int = 422) -> str:
    answer = client.post(url, json=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    detail = answer.json()["detail"]
    assert "\n" not in detail
    return detail


def expected(sealed: Sealed, *scenarios: tuple[float, float, list[float]]) -> np.ndarray:
    """[B, A, O, Q] by the release itself."""
    scalars = np.array([[glass, wind] for glass, wind, _ in scenarios])
    fields = np.array([sun for *_, sun in scenarios])[..., None]
    return load_surrogate(sealed.release).answer(scalars, fields)


def table(answer) -> np.ndarray:
    """[B, A, O, Q]"""
    found = [
        [list(one["outputs"][o.name]["quantiles"].values()) for o in SPEC.outputs]
        for one in answer["scenarios"]
    ]
    return np.array(found).transpose(0, 3, 1, 2)


def test_surrogates_are_listed(beds: TestClient, sealed: Sealed) -> None:
    assert beds.get("/v1/scenarios").json() == {
        "surrogates": [
            {
                "name": "beds",
                "release": sealed.release.name,
                "domain": "greenhouse",
                "simulator": "a formula",
                "manifest_sha256": sha256_file(sealed.release / "manifest.json"),
                "approval": "none",
                "decision": None,
                "inputs": 3,
            }
        ],
        "withheld": [],
    }
    assert beds.get("/v1/datasets").json() == {"datasets": [], "withheld": []}


def test_where_there_are_none_none_are_listed(client: TestClient) -> None:
    assert client.get("/v1/scenarios").json() == {"surrogates": [], "withheld": []}
    assert "served: none" in refused(client, {}, status=404)


def test_a_surrogate_says_what_it_may_be_asked(beds: TestClient, sealed: Sealed) -> None:
    detail = beds.get(URL).json()
    assert detail["scalars"] == [
        {
            "name": "glass_share",
            "unit": "",
            "low": 0.1,
            "high": 0.9,
            "about": "Glass, a share of the roof.",
            "default": None,
        },
        {
            "name": "wind_m_s",
            "unit": "m/s",
            "low": 0.0,
            "high": 8.0,
            "about": "Wind.",
            "default": 2.0,
        },
    ]
    assert [(one["name"], one["default"]) for one in detail["fields"]] == [
        ("sun_w_m2", DEFAULT_SUN)
    ]
    assert [one["name"] for one in detail["outputs"]] == ["warmth_k", "loss_w_m2"]
    assert (detail["axis"], detail["places"]) == ("bed", ["north", "middle", "south"])
    assert detail["answered"] == ["north", "middle", "south", "house"]
    assert detail["presets"] == ["June", "desert"]
    assert detail["facts"] == {"seed": 0}
    report = load_surrogate(sealed.release).report["tests"]
    assert set(detail["errors"]) == {"all", "strong wind"}
    errors = detail["errors"]["all"]["outputs"]["warmth_k"]
    for key in ("mae", "cvrmse", "coverage_80", "floor", "mae_over_floor"):
        assert errors[key] == report["all"]["outputs"]["warmth_k"][key]
    assert detail["errors"]["strong wind"]["outputs"]["warmth_k"]["floor"] is None
    assert beds.get(f"/v1/scenarios/{sealed.release.name}").json() == detail


def test_one_scenario_is_answered_with_its_trust(beds: TestClient, sealed: Sealed) -> None:
    answer = ask(beds, {"inputs": {"glass_share": 0.5}})
    np.testing.assert_allclose(
        table(answer), expected(sealed, (0.5, 2.0, DEFAULT_SUN)), rtol=1e-5, atol=1e-5
    )
    assert {k: answer[k] for k in ("engine", "release", "simulator", "approval")} == {
        "engine": "surrogate",
        "release": sealed.release.name,
        "simulator": "a formula",
        "approval": "none",
    }
    assert answer["quantiles"] == list(SPEC.quantiles)
    assert answer["places"] == list(SPEC.answered)
    (scenario,) = answer["scenarios"]
    assert scenario["range_check"] == {"inside": True, "outside": []}
    warmth = scenario["outputs"]["warmth_k"]
    assert warmth["unit"] == "K"
    assert warmth["median"] == dict(zip(SPEC.answered, warmth["quantiles"]["0.5"], strict=True))
    assert list(warmth["quantiles"]) == [f"{level:g}" for level in SPEC.quantiles]
    assert warmth["median"]["north"] < warmth["median"]["south"]
    assert answer["error"] == beds.get(URL).json()["errors"]


@pytest.mark.parametrize(
    ("given", "sun"),
    [
        (150, [150.0] * 3),
        ([10, 20.5, 30], [10, 20.5, 30]),
        ({"south": 0}, [100.0, 200.0, 0.0]),
        ({}, DEFAULT_SUN),
    ],
)
def test_a_field_has_three_forms(beds: TestClient, sealed: Sealed, given, sun) -> None:
    answer = ask(beds, {"inputs": {"glass_share": 0.3, "wind_m_s": 5, "sun_w_m2": given}})
    np.testing.assert_allclose(
        table(answer), expected(sealed, (0.3, 5.0, sun)), rtol=1e-5, atol=1e-5
    )


def test_what_is_nearer_to_a_scenario_wins(beds: TestClient, sealed: Sealed) -> None:
    """Defaults, then the preset, then what is common, then its own."""
    body = {
        "preset": "June",
        "inputs": {"glass_share": 0.4, "sun_w_m2": {"middle": 50}},
        "scenarios": [{}, {"glass_share": 0.8}, {"wind_m_s": 0, "sun_w_m2": {"south": 60}}],
    }
    scenarios = [
        (0.4, 2.0, [200.0, 50.0, 600.0]),
        (0.8, 2.0, [200.0, 50.0, 600.0]),
        (0.4, 0.0, [200.0, 50.0, 60.0]),
    ]
    np.testing.assert_allclose(
        table(ask(beds, body)), expected(sealed, *scenarios), rtol=1e-5, atol=1e-5
    )


def test_many_scenarios_at_chosen_places(beds: TestClient, sealed: Sealed) -> None:
    shares = np.linspace(0.1, 0.9, 2000).round(4)
    body = {"scenarios": [{"glass_share": g} for g in shares], "places": ["house", "north"]}
    answer = ask(beds, body)
    assert answer["places"] == ["house", "north"]
    whole = expected(sealed, *((g, 2.0, DEFAULT_SUN) for g in shares))
    np.testing.assert_allclose(table(answer), whole[:, [3, 0]], rtol=1e-5, atol=1e-5)
    errors = answer["error"]["all"]["outputs"]["warmth_k"]
    assert list(errors["places"]) == ["house", "north"]


def test_outside_the_trained_range_it_refuses_or_warns(beds: TestClient) -> None:
    body = {
        "inputs": {"glass_share": 0.5},
        "scenarios": [{}, {"wind_m_s": 9.5, "sun_w_m2": {"south": 601}}],
    }
    detail = refused(beds, body)
    for part in (
        "scenario 1: wind_m_s is 9.5, trained on 0 to 8",
        "sun_w_m2 at south is 601, trained on 0 to 600",
        "extrapolate=true",
    ):
        assert part in detail
    inside, outside = ask(beds, body, extrapolate="true")["scenarios"]
    assert inside["range_check"]["inside"]
    assert outside["range_check"] == {
        "inside": False,
        "outside": [
            {"input": "wind_m_s", "place": None, "value": 9.5, "low": 0.0, "high": 8.0},
            {"input": "sun_w_m2", "place": "south", "value": 601.0, "low": 0.0, "high": 600.0},
        ],
    }


def test_a_preset_outside_the_range_is_flagged_too(beds: TestClient) -> None:
    body = {"preset": "desert", "inputs": {"glass_share": 0.5}}
    assert "sun_w_m2 at north is 700" in refused(beds, body)
    (scenario,) = ask(beds, body, extrapolate="true")["scenarios"]
    assert len(scenario["range_check"]["outside"]) == 3


def test_a_long_refusal_is_cut(beds: TestClient) -> None:
    body = {"scenarios": [{"glass_share": 0.5, "sun_w_m2": -1}] * 50}
    assert "; and 147 more; ask" in refused(beds, body)


def test_what_has_no_number_is_refused(beds: TestClient, monkeypatch) -> None:
    def overflown(surrogate, scalars, fields):
        found = np.zeros((len(scalars), 4, 2, 7), np.float32)
        found[1, 2] = np.inf
        return found

    monkeypatch.setattr(SurrogateRelease, "answer", overflown)
    body = {"scenarios": [FULL, {"glass_share": 1e30}]}
    answer = beds.post(URL, json=body, params={"extrapolate": True})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("scenario 1: ")


FULL = {"glass_share": 0.5}


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        ({}, ["scenario 0: glass_share has no default"]),
        ({"scenarios": [FULL, {}]}, ["scenario 1: glass_share has no default"]),
        ({"inputs": {"glas": 1}}, ["inputs: input 'glas' is unknown", "glass_share, wind_m_s"]),
        ({"inputs": FULL, "scenarios": [{}, {"sun": 1}]}, ["scenario 1: input 'sun' is unknown"]),
        ({"inputs": {"glass_share": [1]}}, ["inputs: glass_share is one number"]),
        ({"inputs": {"glass_share": {"north": 1}}}, ["inputs: glass_share is one number"]),
        ({"inputs": {**FULL, "sun_w_m2": [1, 2]}}, ["sun_w_m2: 2 values for 3 places"]),
        ({"inputs": {**FULL, "sun_w_m2": {"n": 1}}}, ["bed 'n' is unknown", "north, middle"]),
        ({"inputs": FULL, "preset": "May"}, ["preset 'May' is unknown; presets: June, desert"]),
        ({"inputs": FULL, "places": ["roof"]}, ["bed 'roof' is not answered", "south, house"]),
        ({"inputs": FULL, "places": []}, ["places"]),
        ({"inputs": FULL, "scenarios": []}, ["scenarios"]),
        ({"scenarios": [FULL] * 2001}, ["scenarios", "2000"]),
        ({"inputs": FULL, "surprise": 1}, ["surprise"]),
        ({"inputs": {"glass_share": "0.5"}}, ["glass_share"]),
        ({"inputs": {"glass_share": None}}, ["glass_share"]),
        ({"inputs": {"glass_share": True}}, ["glass_share"]),
        ({"inputs": {"glass_share": 1e31}}, ["glass_share"]),
        ({"inputs": {**FULL, "sun_w_m2": [1, None, 2]}}, ["sun_w_m2"]),
        ({"inputs": []}, ["inputs"]),
        ([], ["body"]),
    ],
)
def test_what_does_not_fit_is_named(beds: TestClient, body, parts: list[str]) -> None:
    detail = refused(beds, body)
    for part in parts:
        assert part in detail


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused(beds: TestClient, number: str) -> None:
    answer = beds.post(
        URL,
        content=f'{{"inputs": {{"glass_share": {number}}}}}',
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 422
    assert answer.json()["detail"]


def test_an_answer_has_its_limit(beds: TestClient, monkeypatch) -> None:
    monkeypatch.setattr("serving.scenarios.MOST_VALUES", 100)
    body = {"scenarios": [FULL] * 3}
    assert "ask at most 1 at once" in refused(beds, body)
    assert ask(beds, body | {"places": ["house"]})["places"] == ["house"]


@pytest.mark.parametrize("name", ["nosuch", "beds-000000000000", "..", ".beds", "%2e%2e", "beds "])
def test_what_is_not_served_is_not_found(beds: TestClient, name: str) -> None:
    for answer in (
        beds.get(f"/v1/scenarios/{name}"),
        beds.post(f"/v1/scenarios/{name}", json={"inputs": FULL}),
    ):
        assert answer.status_code in (404, 405)


def test_a_forecaster_is_no_surrogate(tiny, client: TestClient) -> None:
    for name in ("tiny", tiny.release.name):
        assert client.get(f"/v1/scenarios/{name}").status_code == 404


def test_every_answer_fits_its_schema(beds: TestClient) -> None:
    document = beds.get("/openapi.json").json()
    many = {
        "preset": "June",
        "inputs": {"glass_share": 0.5, "sun_w_m2": {"south": 1}},
        "scenarios": [{"wind_m_s": 3.5}, {"sun_w_m2": [1, 2, 3]}],
        "places": ["house"],
    }
    asked = [
        ("get", "/v1/scenarios", None),
        ("get", "/v1/scenarios/{release}", None),
        ("post", "/v1/scenarios/{release}", many),
        ("post", "/v1/scenarios/{release}?extrapolate=true", {"inputs": {"glass_share": 2}}),
    ]
    for method, path, body in asked:
        operation = document["paths"][path.partition("?")[0]][method]
        answer = beds.request(method, path.format(release="beds"), json=body)
        assert answer.status_code == 200, answer.text
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        assert faults(answer.json(), schema, document) == []
        if body is not None:
            given = operation["requestBody"]["content"]["application/json"]["schema"]
            assert faults(body, given, document) == []
