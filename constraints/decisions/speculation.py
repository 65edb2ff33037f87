"""Speculation: how a server drafts tokens ahead, as `--speculative-config` asks for it."""

from typing import Literal

from pydantic import Field

from vllm_opt.profiles.noun import Noun
from vllm_opt.profiles.nouns.model import (
    Attention,
    CompressedAttention,
    DecoderLayer,
    DenseMlp,
    Experts,
    ModelProfile,
    StateSpace,
)
from vllm_opt.profiles.nouns.quantization import Quantization

Method = Literal["ngram", "ngram_gpu", "suffix", "draft_model", "eagle", "eagle3", "mtp", "dflash"]
WITHOUT_WEIGHTS: frozenset[Method] = frozenset(("ngram", "ngram_gpu", "suffix"))

PREDICTS_AHEAD = (
    "DeepseekV3", "DeepseekV32", "DeepseekV4", "GlmMoeDsa", "Glm4Moe", "MiMoV2Flash", "MiniMaxM3", "Qwen3Next",
    "Qwen3_5", "Step3p7",
)  # fmt: skip
"""Classes whose checkpoints carry MTP modules that this release builds."""

STEP_MODULES = 3
"""Step 3.7 always loads three MTP modules, each with an output head of its own (`models/step3p5_mtp.py`, 0.33)."""

WINDOWED_MODULES = ("MiMoV2Flash", "Step3p7")
"""Classes whose MTP modules are sliding-window layers."""


class DraftShape(Noun):
    """A drafter that reads the target's hidden states (EAGLE, EAGLE-3, DFlash): decoder layers and projections."""

    hidden_size: int = Field(gt=0)
    target_hidden_size: int = Field(gt=0)
    intermediate_size: int = Field(gt=0)
    attention: Attention
    num_layers: int = Field(1, gt=0)
    vocab_size: int = Field(gt=0, description="of the target")
    draft_vocab_size: int | None = Field(None, gt=0, description="None: the target's own head is used")
    target_layers: int = Field(1, gt=0, description="target layers whose hidden states are joined at the entrance")


class Speculation(Noun):
    """One drafter and how far it looks ahead."""

    method: Method
    num_speculative_tokens: int = Field(gt=0)
    shape: DraftShape | None = Field(None, description="of eagle, eagle3 and dflash")
    model: ModelProfile | None = Field(None, description="of draft_model")
    quantization: Quantization | None = Field(None, description="of draft_model's checkpoint")
    kv_cache_dtype: str | None = Field(None, description="of the drafter's own cache; None: the target's")
    probabilistic: bool = Field(False, description="draft_sample_method: keeps the logits of every drafted token")

    @property
    def lookahead_tokens(self) -> int:
        """Slots past the verified tokens that a step needs (`VllmConfig.num_lookahead_tokens`)."""
        if self.method in WITHOUT_WEIGHTS:
            return 0
        return self.num_speculative_tokens + (1 if self.method == "dflash" else 0)

    @property
    def query_tokens(self) -> int:
        """Tokens of one verifying sequence in a step: the next one and the drafts."""
        return 1 + self.num_speculative_tokens


def has_mtp(model: ModelProfile) -> bool:
    """Whether the model's checkpoint can draft for itself."""
    return model.architecture.startswith(PREDICTS_AHEAD)


def mtp_modules(model: ModelProfile) -> int:
    """Return how many MTP modules are loaded, whatever the number of drafted tokens."""
    return STEP_MODULES if model.architecture.startswith("Step3p7") else 1


def mtp_kind(model: ModelProfile) -> int:
    """Return the kind of layer that the MTP module repeats: the last that is no recurrent state."""
    kinds = [kind for kind in model.layer_pattern if not isinstance(model.layer_kinds[kind].mixer, StateSpace)]
    if model.architecture.startswith(WINDOWED_MODULES):
        kinds = [kind for kind in kinds if getattr(model.layer_kinds[kind].mixer, "kind", "") == "sliding_window"]
    if model.architecture.startswith("Step3p7"):
        kinds = [kind for kind in kinds if isinstance(model.layer_kinds[kind].feed_forward, DenseMlp)] or kinds
    return kinds[-1]


def mtp_layer(model: ModelProfile) -> DecoderLayer:
    """Return the layer of the MTP module: one of the target's; in DeepSeek V4 the window alone and scored routing."""
    kind = model.layer_kinds[mtp_kind(model)]
    if not isinstance(kind.mixer, CompressedAttention):
        return kind
    experts = kind.feed_forward
    if isinstance(experts, Experts):
        experts = experts.model_copy(update={"router_bias": True, "hash_table_entries": 0})
    mixer = kind.mixer.model_copy(update={"compress_ratio": 0})
    return kind.model_copy(update={"mixer": mixer, "feed_forward": experts})
