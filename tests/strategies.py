"""Hypothesis strategies: small planning problems with synthetic GPUs and models, ties and limits included."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.profiles.nouns.price import Offer


def offer(gpus: int, usd: float, **changes: Any) -> Offer:
    """A machine of so many GPUs at so many USD per hour."""
    fields = {
        "gpu": "h100-sxm", "provider": "P", "instance_type": f"x{gpus}", "gpus": gpus, "usd_per_hour": usd,
        "billing": "on-demand", "as_of": "2026-11-01", "confidence": "high", "source": "https://example.com",
    }  # fmt: skip
    return Offer(**{**fields, **changes})


OBJECTIVES = ("cost", "throughput", "concurrency", "gpus", "latency", "efficiency")


@dataclass(frozen=True)
class Problem:
    """What a request needs on disk, and the request's fields. `cuts` chooses limits from what is feasible."""

    config: dict[str, Any]
    gpus: tuple[dict[str, Any], ...]
    prices: tuple[tuple[str, float], ...]
    fields: dict[str, Any]
    machines: tuple[dict[str, Any], ...] = ()
    """Offers of whole machines, beside the prices per GPU."""


@st.composite
def decoders(draw: st.DrawFn) -> dict[str, Any]:
    """A dense or grouped-query decoder of a few layers."""
    heads = draw(st.sampled_from((4, 8)))
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": draw(st.sampled_from((1024, 2048, 4096))),
        "intermediate_size": draw(st.sampled_from((4096, 8192, 14336))),
        "num_attention_heads": heads,
        "num_key_value_heads": draw(st.sampled_from([size for size in (1, 2, 4, 8) if size <= heads])),
        "head_dim": draw(st.sampled_from((64, 128))),
        "num_hidden_layers": draw(st.sampled_from((2, 3, 4, 12))),
        "vocab_size": draw(st.sampled_from((32000, 128256))),
        "max_position_embeddings": draw(st.sampled_from((4096, 32768))),
        "tie_word_embeddings": draw(st.booleans()),
        "torch_dtype": draw(st.sampled_from(("bfloat16", "float16"))),
    }


@st.composite
def with_experts(draw: st.DrawFn) -> dict[str, Any]:
    """Experts in every layer, or in all but the first."""
    return draw(decoders()) | {
        "architectures": ["Qwen3MoeForCausalLM"],
        "model_type": "qwen3_moe",
        "num_experts": draw(st.sampled_from((8, 16))),
        "num_experts_per_tok": 2,
        "moe_intermediate_size": draw(st.sampled_from((768, 1536))),
        "mlp_only_layers": draw(st.sampled_from(([], [0]))),
    }


@st.composite
def latent(draw: st.DrawFn) -> dict[str, Any]:
    """Multi-head latent attention with experts."""
    config = draw(decoders())
    return config | {
        "architectures": ["DeepseekV3ForCausalLM"],
        "model_type": "deepseek_v3",
        "num_key_value_heads": config["num_attention_heads"],
        "q_lora_rank": draw(st.sampled_from((None, 512))),
        "kv_lora_rank": 512,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "n_routed_experts": 8,
        "n_shared_experts": 1,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 1024,
        "first_k_dense_replace": 1,
        "topk_method": "noaux_tc",
    }


@st.composite
def windowed(draw: st.DrawFn) -> dict[str, Any]:
    """Sliding windows in all layers, or in five of six."""
    config = draw(decoders())
    if draw(st.booleans()):
        return config | {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 1024}
    return config | {
        "architectures": ["Gemma3ForCausalLM"],
        "model_type": "gemma3_text",
        "sliding_window": draw(st.sampled_from((512, 1024))),
        "num_hidden_layers": draw(st.sampled_from((6, 8, 12))),
    }


@st.composite
def hybrids(draw: st.DrawFn) -> dict[str, Any]:
    """Mamba-2 states beside attention."""
    return draw(decoders()) | {
        "architectures": ["NemotronHForCausalLM"],
        "model_type": "nemotron_h",
        "num_hidden_layers": None,
        "hybrid_override_pattern": draw(st.sampled_from(("M-M*", "M-M-M*M-", "MM*-"))),
        "mamba_num_heads": draw(st.sampled_from((32, 64))),
        "mamba_head_dim": 64,
        "ssm_state_size": 128,
        "n_groups": draw(st.sampled_from((1, 8))),
        "conv_kernel": 4,
    }


@st.composite
def stored(draw: st.DrawFn, configs: st.SearchStrategy[dict[str, Any]]) -> dict[str, Any]:
    """A checkpoint that is stored in 8 or 4 bits and may say how its KV cache is kept."""
    stated: dict[str, Any] = {
        "quant_method": "modelopt",
        "quant_algo": draw(st.sampled_from(("FP8", "FP8_PER_CHANNEL_PER_TOKEN", "NVFP4"))),
    }
    stated |= draw(
        st.sampled_from(({}, {"kv_cache_quant_algo": "FP8"}, {"kv_cache_scheme": {"num_bits": 8, "type": "float"}}))
    )
    return draw(configs) | {"quantization_config": stated}


PLAIN = st.one_of(decoders(), decoders(), with_experts(), latent(), windowed(), hybrids())
CONFIGS = st.one_of(PLAIN, PLAIN, stored(PLAIN))
FORMATS = (("bf16",), ("fp8",), ("bf16", "fp8"), ("w4a16", "bf16"), ("int8",))
BESIDE_STORED = (("native",), ("native", "bf16"), ("bf16", "native"), ("w4a16", "native"), ("int8", "fp8", "nvfp4"))


@st.composite
def gpu_rows(draw: st.DrawFn, index: int) -> dict[str, Any]:
    """A synthetic SKU: a known part with another memory size and node."""
    row: dict[str, Any] = {
        "id": f"synthetic-{index}",
        "base": draw(st.sampled_from(("h100-sxm", "a100-sxm4-40gb", "l4", "a10", "t4", "l40s", "b200", "mi300x"))),
        "memory_bytes": draw(
            st.one_of(st.integers(3 << 29, 12 << 30), st.integers(6 << 30, 24 << 30), st.just(40 << 30))
        ),
        "gpus_per_node": draw(st.sampled_from((1, 2, 4, 8))),
    }
    if draw(st.booleans()):
        row["memory_bandwidth_bytes_per_s"] = draw(st.sampled_from((4e11, 1.2e12, 3.35e12)))
    return row


@st.composite
def lengths(draw: st.DrawFn, most: int) -> dict[str, Any]:
    """A context, at times beyond the model, and the typical request."""
    context = draw(st.sampled_from((2, 17, 512, 1000, 2048, 4096, 4096, 3000, most, most, most + 1)))
    found: dict[str, Any] = {"target_context": context}
    if draw(st.booleans()) and context > 8:
        found["mean_context"] = draw(st.integers(1, context))
    if draw(st.booleans()) and context > 8:
        found["input_tokens"] = draw(st.integers(1, context - 2))
        found["output_tokens"] = draw(st.integers(1, context - found["input_tokens"]))
    return found


@st.composite
def problems(
    draw: st.DrawFn, configs: st.SearchStrategy[dict[str, Any]] = CONFIGS, most_gpus: int = 4, *, quick: bool = False
) -> Problem:  # fmt: skip
    """One planning problem that brute force can enumerate; a `quick` one in a fraction of a second."""
    config = draw(configs)
    count = draw(st.integers(1, 2))
    gpus = tuple(draw(gpu_rows(index)) for index in range(count))
    base_price = draw(st.sampled_from((0.5, 1.0, 1.3)))
    ratios = [draw(st.sampled_from((1, 1, 2, 0.5, 1.5))) for _ in gpus]
    priced = draw(st.integers(0, 9)) > 0
    prices = tuple((row["id"], base_price * ratio) for row, ratio in zip(gpus, ratios, strict=True))
    prices = prices if priced else prices[:-1]
    whole = {sku for sku, _ in prices if draw(st.booleans())}
    machines = tuple(offer for sku, usd in prices if sku in whole for offer in draw(offers(sku, usd)))
    ceiling = draw(st.sampled_from((0.5, 0.505, 0.51, 0.52)))
    fields: dict[str, Any] = {
        "gpu": tuple(row["id"] for row in gpus),
        "concurrency": draw(st.sampled_from((1, 2, 3, 5, 8, 12, 40))),
        "tolerance": draw(st.sampled_from((0.0, 0.0, 0.05, 0.3))),
        "default_limits": False,
        "max_gpu_memory_utilization": ceiling,
        "quantization": draw(st.sampled_from(BESIDE_STORED if "quantization_config" in config else FORMATS)),
        "min_quality": draw(st.sampled_from((0.5, 0.5, 0.98))),
        "explain": draw(st.sampled_from((False, False, True))),
        "kv_cache_dtype": draw(st.sampled_from(("auto", "any", "any", "fp8"))),
        "objective": tuple(draw(st.lists(st.sampled_from(OBJECTIVES), min_size=1, max_size=3, unique=True))),
        "confidence": draw(st.sampled_from((0.5, 0.8, 0.9, 0.99))),
        **draw(lengths(config["max_position_embeddings"])),
    }
    gpus_asked = draw(st.sampled_from(("most", "most", "exact")))
    fields["gpus" if gpus_asked == "exact" else "max_gpus"] = draw(st.integers(1, most_gpus))
    release = draw(st.sampled_from((None, None, None, "0.27", "0.19", "0.11", "0.8.5", "0.6.6")))
    if release:
        fields["vllm_version"] = release
        if release == "0.8.5":
            fields["engine"] = draw(st.sampled_from(("v0", "v1")))
    _some(draw, fields, "max_hourly_cost", st.sampled_from((0.5, 1.0, 1.3, 2.0, 2.6, 3.9)), 3)
    _some(draw, fields, "owned", st.just({gpus[0]["id"]: draw(st.integers(1, 5))}), 6)
    _some(draw, fields, "internode_gbps", st.just(100.0), 6)
    _some(draw, fields, "prefix_hit_share", st.sampled_from((0.25, 0.9)), 6)
    if release in (None, "0.27"):
        _some(draw, fields, "offload_hit_share", st.sampled_from((0.05, 0.6)), 8)
    if "offload_hit_share" in fields:
        fields |= {"kv_offloading_size": 4, "prefix_hit_share": 0.25}
    for field, most in (
        ("tensor_parallel_size", 4),
        ("pipeline_parallel_size", 3),
        ("data_parallel_size", 2),
        ("replicas", 3),
    ):
        _some(draw, fields, field, st.integers(1, most), 12)
    _some(draw, fields, "max_num_seqs", st.integers(1, 12), 4)
    _some(draw, fields, "max_num_batched_tokens", st.sampled_from((fields.get("max_num_seqs", 1), 64, 300, 2048)), 12)
    _some(draw, fields, "kv_sizing", st.sampled_from(("typical", "full")), 3)
    if draw(st.integers(1, 4)) == 1:
        # Every batch is a point of its own then: one format and few GPUs keep brute force short.
        fields["concurrency"] = "max"
        fields["quantization"] = fields["quantization"][:1]
        fields["kv_cache_dtype"] = "auto"
        fields = {name: min(2, value) if name in ("gpus", "max_gpus") else value for name, value in fields.items()}
        _some(draw, fields, "max_num_seqs", st.integers(1, 12), 2)
    if quick:
        _shorten(draw, fields)
    if fields.get("max_num_batched_tokens", math.inf) < fields.get("max_num_seqs", 1):
        del fields["max_num_batched_tokens"]  # vLLM refuses both together
    singly = tuple(pair for pair in prices if pair[0] not in whole)
    return Problem(config, gpus, singly, fields, machines)


def _shorten(draw: st.DrawFn, fields: dict[str, Any]) -> None:
    """Where every batch is a point of its own: one width of a step, one format, two GPUs; words for few refusals."""
    fields["explain"] = fields["explain"] and draw(st.integers(1, 5)) == 1
    if fields["concurrency"] == "max" or "concurrency" in fields["objective"]:
        fields["max_num_batched_tokens"] = draw(st.sampled_from((64, 300, 512, 2048, 8192)))
        fields["quantization"] = fields["quantization"][:1]
        fields |= {name: min(2, fields[name]) for name in ("gpus", "max_gpus") if name in fields}
    else:
        fields |= {name: min(3, fields[name]) for name in ("gpus", "max_gpus") if name in fields}


@st.composite
def offers(draw: st.DrawFn, sku: str, usd: float) -> list[dict[str, Any]]:
    """One to three machines of a SKU, sizes mixed; sometimes GPUs sold one by one."""
    found = []
    for at in range(draw(st.integers(1, 3))):
        size = draw(st.sampled_from((1, 2, 3, 4, 8)))
        row = {"gpu": sku, "instance_type": f"m{at}", "gpus": size, "provider": "P"}
        row["usd_per_hour"] = size * usd * draw(st.sampled_from((0.5, 0.75, 1, 1, 1.5)))
        if size == 1 and draw(st.booleans()):
            row["up_to_gpus"] = draw(st.sampled_from((2, 4)))
        found.append(row)
    return found


def _some(draw: st.DrawFn, fields: dict[str, Any], name: str, values: st.SearchStrategy[Any], one_in: int) -> None:
    """Set a field in one of so many problems."""
    if draw(st.integers(1, one_in)) == 1:
        fields[name] = draw(values)


def request_of(problem: Problem, folder: Path, **changes: Any) -> SolveRequest:
    """Write the model and the GPUs where the request finds them."""
    (folder / "config.json").write_text(json.dumps(problem.config))
    (folder / "gpus.json").write_text(json.dumps({"gpus": problem.gpus}))
    (folder / "prices.json").write_text(json.dumps({"offers": problem.machines}))
    fields = {**problem.fields, **changes}
    return SolveRequest(
        model=str(folder / "config.json"),
        gpu_file=str(folder / "gpus.json"),
        price=problem.prices,
        prices=str(folder / "prices.json"),
        **fields,
    )
