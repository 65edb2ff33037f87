"""One `vllm serve` line at other loads and other contexts: the points that the page draws as curves.

Every point is an estimate of its own, so a curve cannot say anything else than `vllm-opt estimate` does.
"""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from vllm_opt.optimizer.contract.answer import Estimate, Report
from vllm_opt.optimizer.contract.field_types import Confidence, Count, GpuCount, Share, Switch, Text, _one
from vllm_opt.optimizer.contract.request import EstimateRequest, Request
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import VllmOptError

LOADS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
CONTEXTS = tuple(2**power for power in range(10, 21))
LONGEST_COMMAND = 16384


class CurvesRequest(Request):
    """A command, the GPU under it, and the typical request."""

    command: Annotated[str, BeforeValidator(_one), Field(min_length=1, max_length=LONGEST_COMMAND)] = Field(
        description="one `vllm serve` line, such as the one of a plan"
    )
    gpu: Text = "h100-sxm"
    replicas: GpuCount = 1
    users: Count = Field(32, description="users of all replicas; the curve reaches at least twice as far")
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    prefix_hit_share: Share = 0.0
    vllm_version: Text | None = None
    confidence: Confidence = 0.9
    calibration: Switch = True


class LoadPoint(Report):
    """Speed with so many users."""

    users: int
    ttft_ms: float
    tpot_ms: float | None
    output_tokens_per_s: float
    interval: dict[str, tuple[float, float]]


class ContextPoint(Report):
    """Memory of one GPU with this max_model_len."""

    max_model_len: int
    fits: bool
    fixed_bytes: int = Field(description="weights, activations and all else that is no KV cache, inside the budget")
    weights_bytes: int = Field(description="of fixed_bytes: parameters as loaded, drafter and adapters")
    activation_bytes: int = Field(description="of fixed_bytes: the larger of the model's and the encoder's peak")
    budget_bytes: int
    gpu_total_bytes: int
    kv_cache_bytes: int
    sequence_bytes: int | None = Field(description="KV cache of one sequence that is full; null where none fits")
    running_concurrency: float = Field(description="full sequences that decode at once")


class Curves(Report):
    """Points of the curves."""

    schema_name: str = Field("vllm-opt/curves/1", alias="schema")
    request: dict[str, Any]
    load: tuple[LoadPoint, ...]
    context: tuple[ContextPoint, ...]
    notes: tuple[str, ...] = ()


def curves(request: CurvesRequest, catalog: Catalog) -> Curves:
    """Estimate the command at several loads and several contexts.

    Raises:
        InvalidRequest: the text is not one `vllm serve` command, or states what cannot be understood.
        UnknownProfile: a model, GPU, format or release that the catalogue does not hold.
    """
    from vllm_opt.optimizer.estimation.estimate import estimate
    from vllm_opt.optimizer.estimation.pasted_line import fields_of_line

    fields, notes = fields_of_line(request.command, request.vllm_version, catalog=catalog)
    stated = request.model_dump(exclude_unset=True, exclude={"command", "users"})
    asked = EstimateRequest(**{**fields, **stated, "concurrency": request.users})
    first = estimate(asked, catalog)
    limit = int(first.request["max_model_len"]) if first.request.get("max_model_len") else CONTEXTS[-1]
    most = max(first.memory.max_supported_model_len, limit)
    contexts = sorted({*(each for each in CONTEXTS if each < most), most})
    at_load = [_load_point(asked, users, catalog) for users in _loads(request.users)]
    at_context = [_context_point(asked, length, catalog) for length in contexts[-10:]]
    return Curves(
        request=request.model_dump(mode="json"),
        load=tuple(point for point in at_load if point is not None),
        context=tuple(point for point in at_context if point is not None),
        notes=notes,
    )


def _loads(users: int) -> list[int]:
    reach = [each for each in LOADS if each <= 2 * users]
    return sorted({*(reach[-8:] or (1,)), users, 2 * users})


def _load_point(asked: EstimateRequest, users: int, catalog: Catalog) -> LoadPoint | None:
    from vllm_opt.optimizer.estimation.estimate import estimate

    speed = estimate(asked.replaced(concurrency=users), catalog).performance
    if speed is None:
        return None
    return LoadPoint(
        users=users,
        ttft_ms=speed.ttft_ms,
        tpot_ms=speed.tpot_ms,
        output_tokens_per_s=speed.output_tokens_per_s,
        interval=speed.interval,
    )


def _context_point(asked: EstimateRequest, length: int, catalog: Catalog) -> ContextPoint | None:
    """One context; the typical request is left out where it would not fit into it."""
    from vllm_opt.optimizer.estimation.estimate import estimate

    lengths = asked.input_tokens or 0, asked.output_tokens or 0
    shorter: dict[str, Any] = {"input_tokens": None, "output_tokens": None} if sum(lengths) > length else {}
    try:
        found: Estimate = estimate(asked.replaced(max_model_len=length, **shorter), catalog)
    except VllmOptError:
        return None
    memory = found.memory
    weights = memory.weights_bytes + memory.weights_extra_bytes + memory.draft_bytes + memory.lora_bytes
    activation = max(memory.activation_peak_bytes, memory.encoder_peak_bytes)
    graphs = memory.cuda_graph_bytes if memory.cuda_graph_in_budget else 0
    return ContextPoint(
        max_model_len=length,
        fits=found.fits,
        fixed_bytes=weights + activation + memory.non_torch_bytes + graphs,
        weights_bytes=weights,
        activation_bytes=activation,
        budget_bytes=memory.budget_bytes,
        gpu_total_bytes=memory.gpu_total_bytes,
        kv_cache_bytes=memory.kv_cache_bytes,
        sequence_bytes=round(memory.kv_cache_bytes / memory.max_concurrency) if memory.max_concurrency > 0 else None,
        running_concurrency=memory.running_concurrency,
    )
