"""Requests made from the API's own description: every answer is one that the description names."""

from typing import Any

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from web_server import serving

from vllm_opt.optimizer.web.settings import WebSettings

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
SLOWEST_S = 60
BOUNDED = settings(
    max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


def ask_everything(operation: Any, address: str) -> None:
    """Some requests of one operation."""

    @BOUNDED
    @given(case=operation.as_strategy())
    def every_answer_is_described(case: Any) -> None:
        case.call_and_validate(base_url=address, checks=CHECKS, timeout=SLOWEST_S)

    every_answer_is_described()


def test_every_answer_is_described() -> None:
    asked = []
    with serving(WebSettings(processes=2, longest_s=2.0)) as served:
        described = schemathesis.openapi.from_url(f"{served.address}/openapi.json", wait_for_schema=30)
        for found in described.get_all_operations():
            operation = found.ok()
            ask_everything(operation, served.address)
            asked.append(operation.path)
    assert {"/v1/solve", "/v1/lint", "/v1/procure", "/v1/models", "/healthz"} <= set(asked)
