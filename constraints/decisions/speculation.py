"""Speculation: how a server drafts tokens ahead, as `--speculative-config` asks for it."""

from typing import Literal

from pydantic import Field

from vllm_opt.profiles.noun import Noun
from vllm_opt.profiles.nouns.model import Attention, ModelProfile, StateSpace
from vllm_opt.profiles.nouns.quantization import Quantization

Method = Literal["ngram", "ngram_gpu", "suffix", "draft_model", "eagle", "eagle3", "mtp", "dflash"]
WITHOUT_WEIGHTS: frozenset[Method] = frozenset(("ngram", "ngram_gpu", "suffix"))

PREDICTS_AHEAD = ("DeepseekV3", "DeepseekV32", "GlmMoeDsa", "Glm4Moe", "Qwen3Next", "Qwen3_5", "MiMoV2Flash")
"""Classes whose checkpoints carry MTP modules that this release builds."""


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


def mtp_kind(model: ModelProfile) -> int:
    """Return the kind of layer that the MTP module repeats: the last that is no recurrent state."""
    kinds = [kind for kind in model.layer_pattern if not isinstance(model.layer_kinds[kind].mixer, StateSpace)]
    if model.architecture.startswith("MiMoV2Flash"):
        kinds = [kind for kind in kinds if getattr(model.layer_kinds[kind].mixer, "kind", "") == "sliding_window"]
    return kinds[-1]
