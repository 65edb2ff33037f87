"""Requests made from the API's own description: every answer is one that the description names."""

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
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


@pytest.fixture(scope="module")
def described() -> Iterator[schemathesis.BaseSchema]:
    """The description of a server that gives a request two seconds."""
    with serving(WebSettings(processes=2, longest_s=2.0)) as served:
        yield schemathesis.openapi.from_url(f"{served.address}/openapi.json", wait_for_schema=30)


api = schemathesis.pytest.from_fixture("described")


@api.parametrize()
@settings(max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_described(case: schemathesis.Case) -> None:
    case.call_and_validate(checks=CHECKS, timeout=SLOWEST_S)
