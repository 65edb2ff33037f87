"""BatchRequest: which models, SKUs, workloads, objectives and vLLM releases get a recommended configuration."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from vllm_opt.optimizer.contract.fault import one_sentence
from vllm_opt.optimizer.contract.field_types import (
    Count,
    CountOrZero,
    PositiveNumber,
    Switch,
    Text,
    Texts,
)
from vllm_opt.optimizer.contract.request import Request, SolveRequest
from vllm_opt.profiles.errors import InvalidRequest, did_you_mean
from vllm_opt.profiles.nouns.workload_preset import WorkloadPreset
from vllm_opt.profiles.printable import printable
from vllm_opt.profiles.reading.user_files import line_of, read_user_file, shown_name

DEFAULT_GPUS = ("h100-sxm", "h200-sxm", "b200", "a100-sxm4-80gb", "l40s", "mi300x")
PASSED_ON = (
    "max_gpus", "quantization", "min_quality", "kv_cache_dtype", "max_gpu_memory_utilization", "max_hourly_cost",
    "provider", "billing", "region", "owned", "price", "prices", "gpu_file", "host_memory_gib", "internode_gbps",
    "confidence", "calibration", "hypothetical_checkpoints", "time_limit", "seed",
)  # fmt: skip
"""Fields that mean what they mean in a SolveRequest and go into every cell."""
LONGEST_MODELS_FILE = 1024 * 1024


def _workloads(value: object) -> object:
    """Wrap one workload into a tuple; a mapping is a preset of the user's own."""
    items = value if isinstance(value, list | tuple) else (value,)
    return tuple(_workload(item) for item in items)


def _workload(item: object) -> object:
    if not isinstance(item, dict):
        return item
    try:
        return WorkloadPreset.model_validate(item)
    except ValidationError as error:
        raise ValueError(one_sentence(error, tuple(WorkloadPreset.model_fields))) from None


def _field(name: str) -> Any:
    """The type of a SolveRequest field, with its validators."""
    field = SolveRequest.model_fields[name]
    return Annotated[field.annotation, *field.metadata]


class BatchRequest(Request):
    """Everything that `vllm-opt batch` takes; an empty one asks for the whole catalogue.

    `models`: ids, short names, globs over the catalogue ('Qwen/*', '*-FP8') or paths; `models_file`: the same, one per
    line. `workload`: names of presets, or mappings that describe one. `objective`: what each cell optimises, several
    joined by '+' in their order; without it each preset's own.
    """

    models: Texts = ()
    models_file: Text | None = None
    gpu: Texts = DEFAULT_GPUS
    workload: Annotated[
        tuple[WorkloadPreset | Annotated[str, Field(min_length=1, max_length=200)], ...], BeforeValidator(_workloads)
    ] = ()
    objective: Texts = ()
    vllm_version: Texts = ()
    max_gpus: Count | None = None
    quantization: Texts = ()
    min_quality: _field("min_quality") = 0.98  # type: ignore[valid-type]
    kv_cache_dtype: Text = "any"
    max_gpu_memory_utilization: _field("max_gpu_memory_utilization") = 0.95  # type: ignore[valid-type]
    max_hourly_cost: PositiveNumber | None = None
    provider: Texts = ()
    billing: Texts = ()
    region: Texts = ()
    owned: _field("owned") = ()  # type: ignore[valid-type]
    price: _field("price") = ()  # type: ignore[valid-type]
    prices: Text | None = None
    gpu_file: Text | None = None
    host_memory_gib: PositiveNumber | None = None
    internode_gbps: PositiveNumber | None = None
    confidence: _field("confidence") = 0.9  # type: ignore[valid-type]
    calibration: Switch = True
    hypothetical_checkpoints: Switch = Field(False, description="also recommend weights that nobody has published")
    time_limit: PositiveNumber = Field(30.0, description="seconds for one cell")
    seed: CountOrZero = 0
    output: Text = Field("recommended", description="folder that is written")
    jobs: Annotated[int, Field(gt=0, le=4096)] | None = Field(None, description="workers; default: one per CPU")
    resume: Switch = Field(False, description="keep cells that are there and still valid")
    backend: Literal["local", "ray"] = "local"
    address: Text | None = Field(None, description="Ray cluster; unset: RAY_ADDRESS, or a Ray of this machine")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.gpu:
            raise ValueError("gpu must name at least one SKU")
        if "local" in self.gpu:
            raise ValueError("gpu 'local' differs from worker to worker; name the SKU")
        if self.address is not None and self.backend != "ray":
            raise ValueError("address needs backend ray")
        for text in self.objective:
            objectives_of(text)
        return self

    @property
    def passed_on(self) -> dict[str, Any]:
        """The fields that go into every cell's SolveRequest, as far as they were given."""
        given = self.model_dump(include=set(PASSED_ON) & self.model_fields_set, mode="json")
        return {"hypothetical_checkpoints": self.hypothetical_checkpoints, "time_limit": self.time_limit, **given}


def objectives_of(text: str) -> tuple[str, ...]:
    """Read 'cost+throughput' as a lexicographic list.

    Raises:
        ValueError: an objective is unknown or given twice.
    """
    known = ("cost", "throughput", "concurrency", "gpus", "latency", "efficiency")
    names = tuple(part.strip().lower() for part in text.split("+"))
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or f"; known are {', '.join(known)}"
            raise ValueError(f"objective {printable(repr(name[:60]))} is unknown{hint}")
    if len(set(names)) != len(names):
        raise ValueError(f"objective {printable(repr(text[:60]))} names one twice")
    return names


def read_batch_file(path: str | Path) -> dict[str, Any]:
    """Return the fields of a SPEC.yaml, each checked on its own.

    Raises:
        InvalidRequest: the file cannot be read, or a key or value is not understood; the sentence names file and line.
    """
    file = Path(path)
    content = read_user_file(file)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InvalidRequest(f"{shown_name(file)} must hold keys and values, such as 'models: Qwen/*'")
    fields = tuple(BatchRequest.model_fields)
    for where, given in _parts(content):
        try:
            BatchRequest(**given)
        except InvalidRequest as error:
            line = line_of(file, where)
            place = f"{shown_name(file)}, line {line}" if line else shown_name(file)
            sentence = str(error).removeprefix("request: ")
            if where[0] not in fields and "did you mean" not in sentence:
                sentence += f"; keys are {', '.join(fields)}"
            raise InvalidRequest(f"{place}: {sentence}") from None
    return {str(key): value for key, value in content.items()}


def _parts(content: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], dict[str, Any]]]:
    """Every key with its value alone, list entries of `workload` one by one, and where each stands."""
    for key, value in content.items():
        if key == "workload" and isinstance(value, list):
            for position, item in enumerate(value):
                yield (key, position), {key: [item]}
        else:
            yield (key,), {str(key): value, **({"backend": "ray"} if key == "address" else {})}


def read_models_file(path: str | Path) -> tuple[str, ...]:
    """Return the names in a text file: one per line, '#' starts a comment.

    Raises:
        InvalidRequest: the file cannot be read or names nothing.
    """
    file = Path(path)
    try:
        with file.open("rb") as stream:
            text = stream.read(LONGEST_MODELS_FILE + 1)
        names = [line.split("#")[0].strip() for line in text.decode("utf-8-sig").splitlines()]
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not a readable text file"
        raise InvalidRequest(f"cannot read {shown_name(file)}: {reason}") from None
    if len(text) > LONGEST_MODELS_FILE:
        raise InvalidRequest(f"{shown_name(file)} is larger than 1 MiB; give one model per line")
    if not any(names):
        raise InvalidRequest(f"{shown_name(file)} names no model; write one per line")
    return tuple(name for name in names if name)
