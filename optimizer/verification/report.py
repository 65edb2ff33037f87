"""What `verify` answers: the commands to run, or how the measured figures compare with what was promised."""

from typing import Literal

from pydantic import Field

from vllm_opt.optimizer.contract.answer import Report
from vllm_opt.profiles.noun import Noun


class Benchmark(Noun):
    """How a service is measured."""

    command: str = Field(description="with vLLM's own client")
    guidellm_command: str
    users: int | None = Field(description="in flight; null for a rate")
    requests_per_s: float | None
    requests: int
    input_tokens: int
    output_tokens: int
    minutes: float = Field(description="expected, by the prediction")
    gpus: int


class Check(Noun):
    """One promise."""

    term: Literal["ttft_ms", "tpot_ms", "output_tokens_per_s"]
    predicted: float
    limit: float = Field(description="what passes: at most this, for tokens per second at least")
    limit_from: str = Field(description="the request's own limit, or the end of the predicted interval")
    measured: float | None = None
    passed: bool | None = Field(None, description="null where nothing was measured")
    off: float | None = Field(None, description="measured / predicted - 1")


class Blame(Noun):
    """The one term of the model that explains the difference best."""

    term: Literal["memory", "compute", "host", "frontend", "load", "none"]
    factor: float = Field(description="by which it would have to be multiplied")
    explained: float = Field(ge=0, le=1, description="share of the squared log errors that this alone explains")
    message: str


class MemoryTermCheck(Noun):
    """A term of start-up memory that a log prints."""

    term: str
    measured: float
    predicted: float
    off: float


class ServiceVerification(Noun):
    """One service of the plan."""

    name: str
    model: str
    gpu: str
    benchmark: Benchmark
    checks: tuple[Check, ...]
    passed: bool | None
    failed_requests: int = 0
    results: tuple[str, ...] = ()
    blame: Blame | None = None
    memory: tuple[MemoryTermCheck, ...] = Field((), description="of a start-up log among the results")
    notes: tuple[str, ...] = ()


class Verification(Report):
    """The answer of `verify`."""

    schema_name: str = Field("vllm-opt/verification/1", alias="schema")
    status: Literal["to_run", "passed", "missed"]
    services: tuple[ServiceVerification, ...]
    notes: tuple[str, ...] = ()
