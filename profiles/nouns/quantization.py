"""Quantization: one way to store weights that vLLM can load."""

from typing import Literal

from pydantic import Field

from vllm_opt.profiles.noun import Noun


class LoadFlag(Noun):
    """The value of `--quantization` that makes this format from a 16-bit checkpoint while loading."""

    value: str
    since: str = Field(description="oldest vLLM release whose own source was read to accept it")
    until: str | None = Field(None, description="newest release that accepts it; None: still accepted")


class Quantization(Noun):
    """A weight format: bytes per weight, hardware it runs on, and what is known of its quality.

    Bytes of a quantised matrix of N rows (outputs) and K columns (inputs):
    `N*K*weight_bits/8 + scales + zero points`, scales by `scale_granularity`.
    """

    id: str = Field(description="name on the command line, e.g. 'fp8'")
    names: tuple[str, ...] = Field((), description="other spellings, vLLM's own included")
    title: str
    weight_bits: int = Field(gt=0, description="bits of one stored weight without scales")
    scale_granularity: Literal["none", "tensor", "channel", "block", "group"]
    scale_bytes: int = Field(0, ge=0, description="bytes of one scale")
    group_size: int | None = Field(None, gt=0, description="weights per scale along the input (group, block)")
    zero_point_bits: int = Field(0, ge=0, description="bits of one zero point per group")
    activation_bits: int = Field(16, description="precision of the activations in the product")
    compute: Literal["half", "fp8", "int8", "fp4"] = Field(description="peak that applies where native")
    compute_below_native: Literal["half", "fp8", "int8"] | None = None
    kernel_path: str = Field(description="key into the latency constants, e.g. 'bf16', 'fp8', 'w4a16', 'nvfp4'")
    min_capability: tuple[int, int] | None = Field(None, description="lowest CUDA capability that loads it")
    native_capability: tuple[int, int] | None = Field(None, description="lowest capability with native arithmetic")
    vendors: tuple[Literal["nvidia", "amd", "intel"], ...] = ("nvidia",)
    activation_dtypes: tuple[str, ...] = Field(("bfloat16", "float16"), description="model dtypes it accepts")
    experts_only: bool = Field(False, description="quantises routed experts only")
    quantizes_at_load: bool = Field(False, description="vLLM can make it from a 16-bit checkpoint while loading")
    load_flag: str | None = Field(None, description="value of --quantization that quantises at load (0.33)")
    load_flags: tuple[LoadFlag, ...] = Field((), description="the same by release; the newest that applies is used")
    experts_only_at_load: bool = Field(False, description="at load only routed experts are quantised")
    vllm_since: str | None = Field(None, description="oldest release read to load such checkpoints; None: all known")
    vllm_until: str | None = Field(None, description="newest release that loads it without a plugin; None: still does")
    capability_below: tuple[int, int] | None = Field(None, description="CUDA capability from which it is refused")
    checkpoint_note: str = Field("", description="how to make a checkpoint of this format")
    evidence_notes: tuple[str, ...] = Field((), description="published findings in words, which give no number")
    sources: tuple[str, ...] = Field((), description="where each number was read")
    note: str = ""

    @property
    def effective_bits(self) -> float:
        """Bits per quantised weight with group scales and zero points; per-tensor and per-channel scales are not in.

        `weight_bits + (8 * scale_bytes + zero_point_bits) / weights per scale`, where a block scale covers
        `group_size * group_size` weights.
        """
        if self.group_size is None or self.scale_granularity not in ("group", "block"):
            return float(self.weight_bits)
        covered = self.group_size**2 if self.scale_granularity == "block" else self.group_size
        return self.weight_bits + (8 * self.scale_bytes + self.zero_point_bits) / covered
