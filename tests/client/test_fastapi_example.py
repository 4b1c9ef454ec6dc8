"""The FastAPI example, with and without a broker."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Iterator
from types import ModuleType

import driftgauge_client
import httpx
import pytest

from tests.client.support import NOWHERE, ROOT, Line

APPLICANT = {"age": 41.0, "income": 32_000.0, "loan": 9_000.0, "city": "Lyon"}


@pytest.fixture
def service() -> ModuleType:
    """The example, imported from its file."""
    spec = importlib.util.spec_from_file_location("fastapi_service", ROOT / "examples" / "fastapi_service.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def ended() -> Iterator[None]:
    """End the client of the module's functions, before and after."""
    driftgauge_client.close(0)
    yield
    driftgauge_client.close(0)


def served(service: ModuleType) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(service.app), base_url="http://service")


@pytest.mark.usefixtures("ended")
async def test_predictions_and_feedback_reach_driftgauge(
    service: ModuleType, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in line.arguments().items():
        monkeypatch.setenv(f"DRIFTGAUGE_{name.upper()}", value)
    async with served(service) as http:
        answers = [(await http.post("/predict", json=APPLICANT)).raise_for_status().json() for _ in range(20)]
        outcome = {"id": answers[0]["id"], "value": 1}
        assert (await http.post("/feedback", json=outcome)).status_code == 202
    assert await asyncio.to_thread(driftgauge_client.flush)
    messages = await asyncio.to_thread(line.messages)
    assert {(message["model"], message["version"]) for message in messages} == {("loan-default", "1")}
    assert [one for message in messages for one in message["ids"]] == [answer["id"] for answer in answers]
    assert {one for message in messages for one in message["predictions"]} == {answers[0]["probability"]}
    assert {name: column[0] for name, column in messages[0]["columns"].items()} == APPLICANT
    assert all(one > 0 for message in messages for one in message["latencies_ms"])
    batch = await asyncio.to_thread(line.feedback)
    assert (batch.id, batch.value_number, batch.kind) == ([answers[0]["id"]], [1.0], ["label"])


@pytest.mark.usefixtures("ended")
@pytest.mark.parametrize("address", [NOWHERE, None])
async def test_service_answers_without_a_broker_and_without_settings(
    service: ModuleType, monkeypatch: pytest.MonkeyPatch, address: str | None
) -> None:
    if address is None:
        monkeypatch.delenv("DRIFTGAUGE_BOOTSTRAP_SERVERS", raising=False)
    else:
        monkeypatch.setenv("DRIFTGAUGE_BOOTSTRAP_SERVERS", address)
    async with served(service) as http:
        answer = await http.post("/predict", json=APPLICANT)
    assert answer.status_code == 200
    assert 0 < answer.json()["probability"] < 1
