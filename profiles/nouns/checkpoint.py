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
    stored_bytes: int | None = Field(
        None, gt=0, description="bytes of the published weights where they were read; no plan counts fewer"
    )
    size_margin: float = Field(
        0.0, ge=0, description="share added to the count of the format where the layers left in 16 bits are not known"
    )
    block_scale_bytes: int = Field(4, gt=0, description="bytes of the scale of one 128 x 128 block (ue8m0: 1)")


Publisher = Literal["native", "official", "vendor", "online", "community", "hypothetical"]
"""Who made the weights that are served, best first; "online" is vLLM itself while loading, "hypothetical" nobody yet.
"""

PUBLISHERS: tuple[Publisher, ...] = ("native", "official", "vendor", "online", "community", "hypothetical")

Certainty = Literal["read", "stated", "convention", "low"]
"""How sure the format is: read from its config, which the catalogue holds; said by the source or the name; by the
publisher's habit; a name that leaves it open."""

CERTAINTIES: tuple[Certainty, ...] = ("read", "stated", "convention", "low")


class Checkpoint(Noun):
    """A published checkpoint of one model in one weight format."""

    id: str = Field(description="Hugging Face id")
    base: str = Field("", description="the model that was quantised, exactly; its fine-tunes are other models")
    quantization: str = Field(description="id in the quantisation catalogue")
    publisher: Literal["official", "vendor", "community"] = Field(
        "community", description="the model's maker; a maker of GPUs, tools or engines; anybody else"
    )
    certainty: Certainty = Field("stated", description="how sure the format is")
    hf_downloads: int | None = Field(None, ge=0, description="downloads that the Hub listed for a month, where read")
    group_size: int | None = Field(None, gt=0, description="weights per scale, where it is not the format's usual one")
    stored_bytes: int | None = Field(None, gt=0, description="bytes of the published weights, where they were read")
    size_source: str = Field("", description="where stored_bytes was read")
    mixed: bool = Field(False, description="some layers are known to be stored in more bits than the format's")
    kv_cache_scales: bool = Field(False, description="calibrated scales of an fp8 KV cache are part of it")
    source: str = Field(description="where the checkpoint's existence was read")
    note: str = ""

    @property
    def order(self) -> tuple[int, int, int, str]:
        """What decides between checkpoints of one format, smaller first: publisher, certainty, downloads, name."""
        return (
            PUBLISHERS.index(self.publisher), CERTAINTIES.index(self.certainty), -(self.hf_downloads or 0), self.id
        )  # fmt: skip
