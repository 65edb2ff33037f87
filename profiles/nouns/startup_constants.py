"""StartupConstants: what only a running GPU can tell about start-up memory, fitted to published logs by release.

`python -m vllm_opt.optimizer.fitting.startup.fit` writes `data/startup_memory.json`; the formulas are in
`constraints/memory/activations.py` and `constraints/memory/overheads.py`.
"""

from importlib.resources import files
from typing import Literal

from pydantic import Field

from vllm_opt.profiles.noun import Basis, Noun


class Fitted(Noun):
    """One constant, how far it may be off, and what it rests on."""

    value: float
    spread: float = Field(ge=0, description="standard deviation, in the unit of the value")
    basis: Basis
    samples: int = Field(ge=0, description="start-up logs behind it, near-twins counted once")
    note: str = ""


class TopologyBytes(Noun):
    """Bytes per rank that depend on how many GPUs form one engine and on what joins them; first match wins."""

    tensor_parallel_size: int = Field(1, gt=0, description="applies from this TP on")
    pipelined: bool | None = Field(None, description="None: with and without pipeline stages")
    link: Literal["nvlink", "other", "any"] = Field("any", description="NVLink or Infinity Fabric, or anything slower")
    unified_memory: bool | None = Field(None, description="CPU and GPU share the memory (GB10); None: either")
    enforce_eager: bool | None = Field(None, description="compiled runs add fused all-reduce buffers; None: either")
    bytes: Fitted


class GraphConstants(Noun):
    """CUDA-graph memory: `base + per_graph_layer * graphs * layers + per_captured_byte * max_size * width`."""

    base_bytes: float = Field(ge=0)
    bytes_per_graph_layer: float = Field(ge=0, description="one layer in one captured graph")
    bytes_per_captured_byte: float = Field(ge=0, description="share of the activations of the largest captured batch")
    relative_spread: float = Field(ge=0)
    hybrid_relative_spread: float = Field(
        1.0,
        ge=0,
        description="the same with state-space layers: logs print 0.93, 2.44 and 3.65 GiB where ~0.7 is modelled",
    )
    floor_bytes: float = Field(
        0.13 * 2**30,
        ge=0,
        description="least that any capture takes: workspaces of the backends; the least that vLLM estimated",
    )
    experts_floor_bytes: float = Field(
        0.25 * 2**30, ge=0, description="the same with experts: logs with few captured sizes print 0.1 to 0.6 GiB"
    )
    irregular_factor: float = Field(
        3.5,
        ge=1,
        description="the same law with layers of many widths, whose captures share little: a log of Nemotron Super 49B "
        "prints 3.34 times what is modelled",
    )
    actual_share: float = Field(
        0.8,
        gt=0,
        description="what capture takes over what was estimated before it, from 0.21 on: five logs print 0.26 to 0.9",
    )
    basis: Basis
    samples: int = Field(ge=0)


class StartupConstants(Noun):
    """The constants of one engine from one release on."""

    engine: Literal["v0", "v1"]
    from_release: str = Field(description="first release they hold for, e.g. '0.17'")
    sampler_bytes_per_logit: Fitted = Field(
        description="per sequence and vocabulary entry, beyond the logits in the model's dtype; V1 model runner and V0"
    )
    sampler_v2_bytes_per_logit: Fitted | None = Field(None, description="the same under the V2 model runner")
    sampler_runs_with_chunked_prefill: bool = Field(True, description="V0 sampled few rows when prompts were cut")
    expert_workspace_persists: bool = Field(description="the experts' workspace stays allocated while sampling")
    base_bytes: Fitted = Field(description="activation memory that depends on neither tokens nor sequences")
    token_bytes: Fitted = Field(description="per batched token, beyond the widths of the model")
    forward_factor: Fitted = Field(description="measured over modelled bytes of the widest layer")
    activation_relative_spread: float = Field(ge=0)
    non_torch: tuple[TopologyBytes, ...] = Field(min_length=1, description="growth outside PyTorch after the baseline")
    context: tuple[TopologyBytes, ...] = Field(min_length=1, description="in use before the baseline: context, NCCL")
    graphs: GraphConstants

    def applies_to(self, engine: str, version: str) -> bool:
        """Whether `version` is this era's first release or a later one of the same engine."""
        return engine == self.engine and release_key(version) >= release_key(self.from_release)


def release_key(version: str) -> tuple[int, ...]:
    """Return a version's numbers for comparison: '0.8.5' -> (0, 8, 5)."""
    return tuple(int(part) for part in version.split(".") if part.isdigit())


class StartupMemory(Noun):
    """The whole data file: one set of constants per engine and era."""

    about: str = Field(description="what the file is and how to make it again")
    eras: tuple[StartupConstants, ...]

    def of(self, engine: str, version: str) -> StartupConstants:
        """Return the newest constants not above a release.

        Raises:
            ValueError: the engine has no constants at or before that release.
        """
        known = [era for era in self.eras if era.applies_to(engine, version)]
        if not known:
            raise ValueError(f"no start-up constants for the {engine} engine of vLLM {version}")
        return max(known, key=lambda era: release_key(era.from_release))


def load_startup_memory() -> StartupMemory:
    """Read the data file."""
    text = files("vllm_opt.profiles").joinpath("data/startup_memory.json").read_text(encoding="utf-8")
    return StartupMemory.model_validate_json(text)


def scaled_spreads(era: StartupConstants, factor: float) -> StartupConstants:
    """Return the era with the spreads inside the budget multiplied: activation and non-torch; estimates unchanged."""
    return era.model_copy(
        update={
            "activation_relative_spread": round(era.activation_relative_spread * factor, 4),
            "non_torch": tuple(_scaled(row, factor) for row in era.non_torch),
        }
    )


def _scaled(row: TopologyBytes, factor: float) -> TopologyBytes:
    """A row that no log stands behind keeps its wide spread, or every re-fit would widen it again."""
    if row.bytes.samples == 0:
        return row
    return row.model_copy(update={"bytes": row.bytes.model_copy(update={"spread": round(row.bytes.spread * factor)})})
