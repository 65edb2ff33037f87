"""What `lint` takes: a command or a file, the GPU, and what is known of the load."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from vllm_opt.optimizer.contract.field_types import (
    Count,
    NumberOrZero,
    PositiveNumber,
    Switch,
    Text,
    _number,
    _one,
)
from vllm_opt.optimizer.contract.request import Request, typical_lengths
from vllm_opt.optimizer.contract.traffic import TrafficFields

LONGEST_COMMAND = 2 * 1024 * 1024


def _names(value: object) -> object:
    """Names as a list, or one text with commas."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise ValueError("give names as a list of texts")
    return tuple(name.strip() for each in value for name in each.split(",") if name.strip())


Names = Annotated[tuple[str, ...], BeforeValidator(_names)]


class LintRequest(TrafficFields, Request):
    """Everything that `vllm-opt lint` takes. Give `command` or files; the load is optional and sharpens the advice."""

    command: Annotated[str, BeforeValidator(_one), Field(max_length=LONGEST_COMMAND)] | None = Field(
        None, description="a `vllm serve …` line or a shell script"
    )
    file: Text | None = Field(None, description="path of a file that holds commands; the same as one of `paths`")
    paths: Names = Field((), description="files, folders and patterns such as 'deploy/**/*.yaml'")
    exclude: Names = Field((), description="patterns of files in folders to leave alone")
    select: Names = Field((), description="codes of the rules to report; empty: all")
    ignore: Names = Field((), description="codes of the rules not to report")
    advice: Switch = Field(False, description="also report what works and could be better at a price")
    gpu: Text | None = Field(None, description="SKU, or 'local' for this machine's; None: what the file says")
    gpu_memory_gib: PositiveNumber | None = Field(None, description="overrides the reported memory")
    gpu_file: Text | None = Field(None, description="path of a file that adds or overrides GPUs")
    model: Text | None = Field(None, description="catalogue name or config.json that stands for the model served")
    vllm_version: Text | None = Field(None, description="None: the image's tag, else the newest release")
    engine: Annotated[Literal["v0", "v1"] | None, BeforeValidator(_one)] = None
    target_context: Count | None = Field(None, description="tokens that the longest sequence needs")
    mean_context: Count | None = Field(None, description="tokens that a running sequence holds on average")
    concurrency: Count | None = Field(None, description="sequences to run at once")
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    prefix_hit_share: NumberOrZero = 0.0
    offload_hit_share: NumberOrZero = Field(0.0, description="prompt tokens loaded from the line's KV offload tier")
    max_ttft_ms: PositiveNumber | None = None
    max_tpot_ms: PositiveNumber | None = None
    min_output_tokens_per_s: PositiveNumber | None = None
    confidence: Annotated[float, BeforeValidator(_number), Field(ge=0.5, le=0.99)] = 0.9
    calibration: Switch = True
    calibration_file: Text | None = None
    fix: Annotated[Literal["errors", "all"], BeforeValidator(_one)] = Field(
        "errors", description="which findings the fixed text corrects"
    )
    optimum: Switch = Field(True, description="also solve for the best flags on the same GPUs")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.command is None) == (self.file is None and not self.paths):
            raise ValueError("give one of the two: a command, or a file with --file")
        if self.prefix_hit_share + self.offload_hit_share >= 1:
            raise ValueError("prefix_hit_share and offload_hit_share together must be below 1")
        target, mean = self.target_context, self.mean_context
        if target is not None and mean is not None and mean > target:
            raise ValueError(f"mean_context {mean} exceeds target_context {target}")
        lengths = self.input_tokens, self.output_tokens
        if target is not None and None not in lengths and sum(lengths) > target:  # type: ignore[arg-type]
            raise ValueError(f"input_tokens + output_tokens exceed target_context {target}")
        return self

    def typical_request(self, max_model_len: int) -> tuple[int, int]:
        """Input and output tokens of the typical request for a server of this context."""
        context = max(2, min(self.mean_context or self.target_context or max_model_len, max_model_len))
        found = typical_lengths(context, self.input_tokens, self.output_tokens)
        return found if sum(found) <= max_model_len else typical_lengths(max(2, max_model_len), None, None)
