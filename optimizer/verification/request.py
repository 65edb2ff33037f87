"""What may be asked of `vllm-opt verify`."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from vllm_opt.optimizer.contract.field_types import Count, PositiveNumber, Switch, Text, Texts, _one
from vllm_opt.optimizer.contract.request import Request

Client = Literal["auto", "vllm", "own"]


class VerifyRequest(Request):
    """A plan, and either results that exist, a server to measure, or neither: then the commands are the answer."""

    plan: Text = Field(description="JSON of solve, procure or estimate, or the folder that --save-dir wrote")
    results: Texts = Field((), description="results of `vllm bench serve` or GuideLLM, or folders of them; logs too")
    run: Switch = Field(False, description="measure the server at `base_url` now")
    base_url: Text = "http://localhost:8000"
    served_model_name: Text | None = Field(None, description="what the server calls the model; default: the checkpoint")
    service: Text | None = Field(None, description="one service of a plan with several")
    requests: Count | None = Field(None, description="requests in all; default: some two minutes of the load")
    client: Annotated[Client, BeforeValidator(_one)] = Field(
        "auto", description="what sends: `vllm bench serve` where vLLM is installed, else a small client of our own"
    )
    save_result: Text | None = Field(None, description="where the measured result goes, for `calibrate`")
    time_limit: PositiveNumber = Field(1800.0, description="seconds after which a run is given up")
