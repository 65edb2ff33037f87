"""What is known of the quality of weight formats and KV-cache dtypes, for one model each.

Weights: `quality.json`, fitted to `quality_evidence.json` by `optimizer/fitting/quality/fit.py`. KV cache:
`kv_cache_quality.json`, by kind of attention, release and length of the context.
"""

import math
from collections.abc import Mapping
from functools import cached_property
from statistics import mean
from typing import Any

from vllm_opt.profiles.catalogues.checkpoints import base_key
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.model import Attention, LatentAttention, ModelProfile
from vllm_opt.profiles.nouns.quality import Quality, published
from vllm_opt.profiles.reading.data_files import read_data_file

SIXTEEN_BIT_CACHES = frozenset(("auto", "float16", "bfloat16"))
TWO_LEVEL_ACCUMULATION = (0, 10, 2)
"""First release whose FlashAttention 3 keeps long contexts in an fp8 cache on compute capability 9.0."""
HOPPER = 9
WIDE_HEAD_DIM = 256
LEAST_DEVIATION = 0.005
"""Of a KV finding that rests on few rows, in ln(recovery)."""


class QualityTable:
    """The published evidence, read when it is first asked for."""

    @cached_property
    def fit(self) -> Mapping[str, Any]:
        """The pooled weights."""
        return read_data_file("quality.json")

    @cached_property
    def evidence(self) -> tuple[Mapping[str, Any], ...]:
        """Every published row about weights, with its source."""
        return tuple(read_data_file("quality_evidence.json")["rows"])

    @cached_property
    def _cache(self) -> Mapping[str, Any]:
        return read_data_file("kv_cache_quality.json")

    @property
    def long_context_tokens(self) -> int:
        """Contexts above it count as long."""
        tokens: int = self._cache["long_context_tokens"]
        return tokens

    def weights(self, model: ModelProfile, quantization: str, checkpoint: str | None, billions: float) -> Quality:
        """Quality of a model of `billions` parameters in one format, best evidence first.

        The model as published and 16-bit weights keep 1 by definition; a checkpoint that was made from another model is
        judged by that one. Rows of this checkpoint come first, then those of another checkpoint of the same model and
        format, then the format pooled over models at this size.
        """
        native = model.native_quantization
        if quantization == "bf16":
            return published("16-bit weights are the reference")
        if native is not None and native.quantization == quantization and model.quantized_from is None:
            return published("the model is published in this format")
        own = self._own(model, quantization, checkpoint)
        if own is not None:
            return own
        return self.pooled(quantization, billions)

    def _own(self, model: ModelProfile, quantization: str, checkpoint: str | None) -> Quality | None:
        rows = [row for row in self.fit["checkpoints"] if row["quantization"] == quantization]
        mine = next((row for row in rows if checkpoint is not None and row["id"].lower() == checkpoint.lower()), None)
        base = base_key(model.quantized_from or model.id)
        same = [row for row in rows if base_key(row["model"]) == base]
        row = mine or max(same, key=lambda each: each["rows"], default=None)
        if row is None:
            return None
        benchmarks = f"{row['rows']} published benchmark{'s' if row['rows'] > 1 else ''} of {row['id']}"
        where = benchmarks if mine else f"{benchmarks}, the same model in the same format"
        return Quality(
            log_mean=row["mean"], log_deviation=row["deviation"], evidence=f"{where}, pooled with {quantization}"
        )

    def pooled(self, quantization: str, billions: float) -> Quality:
        """The format over all models with evidence, at a size; larger models lose less."""
        one = self.fit["formats"].get(quantization)
        if one is None:
            return Quality(evidence=f"no published accuracy of {quantization}")
        x = billions ** self.fit["size_exponent"]
        variance = one["level_variance"] + x * x * one["slope_variance"] + 2 * x * one["covariance"]
        return Quality(
            log_mean=one["level"] + x * one["slope"],
            log_deviation=math.sqrt(max(0.0, variance)),
            evidence=(
                f"{quantization} pooled over {one['checkpoints']} published checkpoints, at {billions:.3g} billion "
                f"parameters; single checkpoints differ by {self.fit['checkpoint_spread']:.1%}"
            ),
        )

    def kv_cache(
        self, model: ModelProfile, dtype: str, engine: EngineProfile, capability: tuple[int, int] | None, *, long: bool
    ) -> Quality:
        """Quality of one `--kv-cache-dtype`; `model` is as its checkpoint stores it, `long` a context above the limit.

        `auto` is what the checkpoint or the release itself asks for. A kind of attention with a negative report has no
        number here, however well other rows of it look: one cannot know which of them a model follows.
        """
        if dtype in SIXTEEN_BIT_CACHES:
            return published("")
        dtype = "fp8" if dtype in ("fp8", "fp8_e4m3") else dtype
        kind = cache_kind(model)
        rows = [row for row in self._cache["rows"] if row["kv_cache_dtype"] == dtype]
        early = dtype == "fp8" and _early_hopper(engine, capability)
        if kind != "with_scales" or early:
            against = [row for row in rows if row["kind"] == kind and row["effect"] == "negative"]
            if early and long:
                against += [row for row in rows if row["kind"] == "hopper_before_0_10_2"]
            if against:
                return Quality(evidence=f"{dtype} KV cache: {_reports(against)}")
        mine = [row for row in rows if row["kind"] == kind and "recovery" in row]
        known = [math.log(row["recovery"]) for row in mine if row["context"] == ("long" if long else "short")]
        if not known and kind == "with_scales":
            known = [math.log(row["recovery"]) for row in mine]
        if not known:
            return Quality(evidence=f"no published accuracy of a {dtype} KV cache for this kind of attention")
        return _pooled_cache(known, dtype, long=long and kind != "with_scales")


def cache_kind(model: ModelProfile) -> str:
    """The kind of attention that findings about quantised caches are kept by (`kv_cache_quality.json`)."""
    native = model.native_quantization
    if native is not None and native.kv_cache_dtype is not None:
        return "with_scales"
    mixers = [kind.mixer for kind in model.layer_kinds]
    if any(isinstance(mixer, LatentAttention) for mixer in mixers):
        return "latent"
    if model.architecture.startswith("Qwen2"):
        return "qwen2"
    widths = [mixer.head_dim for mixer in mixers if isinstance(mixer, Attention)]
    return "wide_heads" if max(widths, default=0) >= WIDE_HEAD_DIM else "grouped"


def _early_hopper(engine: EngineProfile, capability: tuple[int, int] | None) -> bool:
    if capability is None or capability[0] != HOPPER:
        return False
    release = tuple(int(part) for part in engine.version.split(".") if part.isdigit())
    return release < TWO_LEVEL_ACCUMULATION[: len(release)]


def _reports(rows: list[Mapping[str, Any]]) -> str:
    said = [f"{row['recovery']:.0%} on {row['benchmark']}" for row in rows if "recovery" in row]
    first = f" ({said[0]})" if said else ""
    return f"negative reports{first}: {', '.join(dict.fromkeys(row['source'] for row in rows))}"


def _pooled_cache(known: list[float], dtype: str, *, long: bool) -> Quality:
    middle = mean(known)
    spread = math.sqrt(sum((each - middle) ** 2 for each in known) / max(1, len(known) - 1))
    return Quality(
        log_mean=min(0.0, middle),
        log_deviation=max(LEAST_DEVIATION if len(known) < 2 else 0.0, spread / math.sqrt(len(known))),
        evidence=(
            f"{dtype} KV cache: {len(known)} published finding{'s' if len(known) > 1 else ''} at "
            f"{'long' if long else 'usual'} contexts"
        ),
    )
