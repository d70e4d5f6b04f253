from starlette.testclient import TestClient


def test_pages_of_other_origins_may_ask(client: TestClient) -> None:
    origin = {"origin": "https://map.example"}
    answer = client.get("/v1/datasets", headers=origin)
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers
    asked = origin | {
        "access-control-request-method": "GET",
        "access-control-request-headers": "authorization",
    }
    assert client.options("/v1/datasets", headers=asked).status_code == 200
    asked["access-control-request-method"] = "DELETE"
    assert client.options("/v1/datasets", headers=asked).status_code == 400
