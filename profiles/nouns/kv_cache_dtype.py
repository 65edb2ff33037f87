"""KvCacheDtype: one value of `--kv-cache-dtype`, the hardware it needs and what is known of its accuracy."""

from typing import Literal

from pydantic import Field

from vllm_opt.profiles.noun import Noun


class KvCacheDtype(Noun):
    """One format of the KV cache. How many bytes a block takes is `constraints/kv/kv_plan.py`'s to say."""

    id: str = Field(description="value of --kv-cache-dtype")
    names: tuple[str, ...] = Field((), description="other spellings")
    title: str
    element_bits: int | None = Field(None, gt=0, description="bits of one element without scales; None: packed rows")
    scale_bytes_per_token_head: int = Field(0, ge=0, description="scale of one token and KV head, for K and V each")
    min_capability: tuple[int, int] | None = Field(None, description="lowest CUDA capability with a backend for it")
    vendors: tuple[Literal["nvidia", "amd", "intel"], ...] = ("nvidia",)
    must_equal_model_dtype: bool = Field(default=False, description="vLLM refuses it for a model of another dtype")
    supports_latent_attention: bool = Field(default=True, description="works with multi-head latent attention")
    latent_attention_only: bool = Field(default=False, description="a row layout of latent attention")
    vllm_since: str | None = Field(None, description="oldest release read to accept it")
    quality: float | None = Field(None, gt=0, description="recovery against a 16-bit cache; None: no number published")
    evidence_notes: tuple[str, ...] = Field((), description="published findings in words")
    sources: tuple[str, ...] = Field(min_length=1, description="where each fact was read")
    note: str = ""
