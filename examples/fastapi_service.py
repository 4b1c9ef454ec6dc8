"""A model behind FastAPI that driftgauge watches.

Run it::

    pip install fastapi uvicorn numpy driftgauge-client
    export DRIFTGAUGE_BOOTSTRAP_SERVERS=127.0.0.1:9092
    uvicorn fastapi_service:app

    curl -s 127.0.0.1:8000/predict -H 'content-type: application/json' \
        -d '{"age": 41, "income": 32000, "loan": 9000, "city": "Lyon"}'
    curl -s 127.0.0.1:8000/feedback -H 'content-type: application/json' \
        -d '{"id": "<the id of the answer>", "value": 1}'

The integration is three lines: the import, `log`, `feedback`. The service answers as fast and as
well when Kafka is away. Secrets come from the environment: ``DRIFTGAUGE_KAFKA_SECURITY_PROTOCOL``,
``DRIFTGAUGE_KAFKA_SASL_PASSWORD_FILE`` and so on.
"""

from __future__ import annotations

import time
import uuid

import driftgauge_client as driftgauge  # 1
import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel

MODEL, VERSION = "loan-default", "1"
WEIGHTS = np.array([-0.03, -0.00004, 0.0002])
BIAS = 0.4


class Applicant(BaseModel):
    """What the model is asked."""

    age: float
    income: float
    loan: float
    city: str | None = None


class Answer(BaseModel):
    """What it answers; `id` is what feedback refers to."""

    id: str
    probability: float


class Outcome(BaseModel):
    """What came of it: 1 when the loan was not repaid."""

    id: str
    value: float


app = FastAPI(title="Loan default")


@app.post("/predict")
async def predict(applicant: Applicant) -> Answer:
    """Answer with a logistic function of three of the features."""
    begun = time.perf_counter()
    inputs = np.array([applicant.age, applicant.income, applicant.loan])
    probability = float(1 / (1 + np.exp(-(WEIGHTS @ inputs + BIAS))))
    answer = Answer(id=uuid.uuid4().hex, probability=probability)
    took_ms = 1_000 * (time.perf_counter() - begun)
    driftgauge.log(  # 2
        MODEL, applicant.model_dump(), prediction=probability, id=answer.id, version=VERSION, latency_ms=took_ms
    )
    return answer


@app.post("/feedback", status_code=202)
async def feedback(outcome: Outcome) -> None:
    """Take the ground truth, whenever it is known."""
    driftgauge.feedback(MODEL, id=outcome.id, value=outcome.value)  # 3
