"""Platform: what a build of vLLM other than the one for CUDA documents of its support, and where."""

from typing import Literal

from pydantic import Field

from vllm_opt.profiles.noun import Noun

Feature = Literal[
    "pipeline_parallel",
    "data_parallel",
    "expert_parallel",
    "decode_context_parallel",
    "several_nodes",
    "quantized_kv_cache",
]


class Gap(Noun):
    """One thing that the platform does not document as supported."""

    feature: Feature
    said: str = Field(description="what its documents say instead, as the end of a sentence")
    source: str = Field(description="address a reader can open")


class FormatGap(Noun):
    """Weight formats without documented kernels."""

    quantizations: tuple[str, ...] = Field(min_length=1, description="ids of the quantisation catalogue")
    said: str
    source: str


class Platform(Noun):
    """A plugin or backend of vLLM, for the SKUs that it serves."""

    id: str
    name: str = Field(description="how a sentence names it")
    gpus: tuple[str, ...] = Field(min_length=1, description="ids of the SKUs")
    newest_vllm: str | None = Field(None, description="newest release of vLLM that it follows; None: part of vLLM")
    newest_source: str = Field("", description="where that is said")
    gaps: tuple[Gap, ...] = ()
    format_gaps: tuple[FormatGap, ...] = ()
    note: str = Field("", description="what else a user of these SKUs should know")
