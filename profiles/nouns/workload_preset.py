"""WorkloadPreset: a named kind of traffic with the targets that people have for it."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from vllm_opt.profiles.errors import InvalidRequest, UnknownProfile, did_you_mean
from vllm_opt.profiles.noun import Noun
from vllm_opt.profiles.printable import printable
from vllm_opt.profiles.reading.data_files import parse_rows, read_data_file
from vllm_opt.profiles.reading.quantities import parse_count

LARGEST_COUNT = 2**31 - 1
Objective = Literal["cost", "throughput", "concurrency", "gpus", "latency", "efficiency"]


def _count(value: object) -> object:
    """Read a whole number, also as '8k' (8,000) or '8K' (8,192); true is not one."""
    if not isinstance(value, str | bool):
        return value
    try:
        return parse_count(value, "it")
    except InvalidRequest as fault:
        raise ValueError(str(fault).removeprefix("it ")) from None


def _number(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    return value


Count = Annotated[int, BeforeValidator(_count), Field(gt=0, le=LARGEST_COUNT)]
Limit = Annotated[float, BeforeValidator(_number), Field(gt=0, le=1e15)]


class WorkloadPreset(Noun):
    """The typical request, how many are in flight, how long they may grow, and what is best for them."""

    id: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    description: str = ""
    input_tokens: Count = Field(description="prompt tokens of the typical request")
    output_tokens: Count = Field(description="generated tokens of the typical request")
    target_context: Count = Field(description="tokens (prompt + output) a sequence may reach")
    mean_context: Count | None = Field(
        None, description="tokens a running sequence holds on average; None: target_context"
    )
    concurrency: Count = Field(description="sequences held at once, in all replicas together")
    prefix_hit_share: float = Field(0.0, ge=0, lt=1, description="share of prompt tokens found in the prefix cache")
    max_ttft_ms: Limit | None = None
    max_tpot_ms: Limit | None = None
    min_output_tokens_per_s: Limit | None = None
    objective: tuple[Objective, ...] = Field(("cost", "throughput"), min_length=1, description="lexicographic")
    sources: dict[str, str] = Field(default_factory=dict, description="field -> address, or 'choice: reason'")

    @model_validator(mode="after")
    def _fits_its_context(self) -> Self:
        if self.input_tokens + self.output_tokens > self.target_context:
            raise ValueError(
                f"input_tokens + output_tokens = {self.input_tokens + self.output_tokens} exceed target_context "
                f"{self.target_context}"
            )
        if self.mean_context is not None and self.mean_context > self.target_context:
            raise ValueError(f"mean_context {self.mean_context} exceeds target_context {self.target_context}")
        if len(set(self.objective)) != len(self.objective):
            raise ValueError("objective must name each objective once")
        return self

    def within(self, max_model_len: int) -> Self | None:
        """The preset clipped to a model's context limit; None when not even the typical request fits."""
        if self.input_tokens + self.output_tokens > max_model_len:
            return None
        if self.target_context <= max_model_len:
            return self
        mean = None if self.mean_context is None else min(self.mean_context, max_model_len)
        return self.model_copy(update={"target_context": max_model_len, "mean_context": mean})


def load_workload_presets() -> tuple[WorkloadPreset, ...]:
    """Return every preset of the catalogue, in the order of its file.

    Raises:
        InvalidRequest: the installation is damaged.
    """
    file = "workloads.json"
    return parse_rows(WorkloadPreset, read_data_file(file).get("workloads"), file, "workloads")


def find_workload_preset(name: str, presets: tuple[WorkloadPreset, ...]) -> WorkloadPreset:
    """Return one preset by name; letter case does not count, nor whether words are joined by '-' or '_'.

    Raises:
        UnknownProfile: no preset has this name; the nearest are named.
        InvalidRequest: the name is empty.
    """
    wanted = name.strip().lower().replace("_", "-").replace(" ", "-")
    if not wanted:
        raise InvalidRequest("the workload name is empty")
    for preset in presets:
        if preset.id.lower() == wanted:
            return preset
    known = [preset.id for preset in presets]
    hint = did_you_mean(name, known) or f"; known are {', '.join(known)}"
    raise UnknownProfile(f"workload {printable(repr(name[:80]))} is unknown{hint}")
