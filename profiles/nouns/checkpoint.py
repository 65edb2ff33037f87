"""How published checkpoints of a model store their weights."""

from typing import Literal

from pydantic import Field

from vllm_opt.profiles.noun import Noun

Part = Literal[
    "attention",
    "attention_output",
    "indexer",
    "state_space",
    "dense_mlp",
    "experts",
    "shared_experts",
    "router",
    "lm_head",
    "vision",
]
"""A group of weight matrices that checkpoints quantise together; "attention" is all of it but the output projection."""


class PartFormat(Noun):
    """One part of a checkpoint that is stored in another format than the rest."""

    part: Part
    quantization: str = Field(description="id in the quantisation catalogue; 'bf16' means left unquantised")
    layers: tuple[int, ...] | None = Field(None, description="decoder layers it holds for; None: all of them")


class CheckpointQuantization(Noun):
    """How the published checkpoint stores its weights (`quantization_config`).

    Every linear layer is stored as `quantization`, except embeddings, norms, router and output head (16-bit, whatever
    the format) and what `part_formats` names; where two entries name the same part, the later one wins.
    """

    quantization: str = Field(description="id in the quantisation catalogue")
    group_size: int | None = Field(None, description="weights that share one scale; None: not grouped")
    ignored_modules: tuple[str, ...] = Field((), description="module names or patterns that stay 16-bit")
    part_formats: tuple[PartFormat, ...] = Field((), description="parts stored in another format")
    method: str = Field("", description="`quant_method` of the config, e.g. 'compressed-tensors'")
    static_activation_scales: bool = Field(False, description="one stored input scale per quantised matrix")
    experts_only: bool = Field(False, description="only routed experts are quantised (gpt-oss)")
    kv_cache_dtype: str | None = Field(None, description="KV dtype that the checkpoint asks for, if any")
    block_scale_bytes: int = Field(4, gt=0, description="bytes of the scale of one 128 x 128 block (ue8m0: 1)")


class Checkpoint(Noun):
    """A published checkpoint of this model in one weight format."""

    id: str = Field(description="Hugging Face id")
    quantization: str = Field(description="id in the quantisation catalogue")
    source: str = Field(description="where the checkpoint's existence was read")
