"""`--equations`: every step from the GPU's memory to the sequences it holds, as a formula with its numbers in."""

from typing import Protocol

from vllm_opt.constraints.decisions.configuration import EngineFlags, Layout
from vllm_opt.constraints.memory.ledger import MemoryTerms
from vllm_opt.constraints.weights.breakdown import parameter_count
from vllm_opt.optimizer.contract.answer import Equation, Memory
from vllm_opt.optimizer.contract.performance import Performance
from vllm_opt.optimizer.estimation.kv_equations import kv_equations
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.model import ModelProfile
from vllm_opt.profiles.nouns.quantization import Quantization


class Described(Protocol):
    """What the formulas are about: a resolved setting of `estimate` or a deployment of `solve`."""

    @property
    def model(self) -> ModelProfile: ...
    @property
    def quantization(self) -> Quantization: ...
    @property
    def layout(self) -> Layout: ...
    @property
    def engine(self) -> EngineProfile: ...


def equations_of(
    setting: Described, flags: EngineFlags, terms: MemoryTerms, memory: Memory, performance: Performance | None
) -> tuple[Equation, ...]:
    """Return the formulas in the order in which they are worked out, for the stage with the fewest blocks."""
    stage = _worst_stage(terms, flags)
    return (
        _budget(setting, flags, memory),
        *_weights(setting, memory, stage),
        _activation(flags, terms, memory, stage),
        _graphs(flags, terms, memory),
        _pool(setting, flags, memory),
        *kv_equations(setting.model, setting.layout, flags, terms, memory),
        _headroom(flags, terms, memory),
        *_speed(performance),
    )


def _worst_stage(terms: MemoryTerms, flags: EngineFlags) -> int:
    blocks, available = terms.blocks_by_stage(flags), terms.available_kv_bytes(flags)
    return min(range(terms.stages), key=lambda stage: (blocks[stage], available[stage]))


def _budget(setting: Described, flags: EngineFlags, memory: Memory) -> Equation:
    rounding = setting.engine.budget_rounding
    return Equation(
        name="budget",
        formula=f"{rounding}(gpu-memory-utilization x reported memory)",
        values=f"{rounding}({flags.gpu_memory_utilization:g} x {memory.gpu_total_bytes:,})",
        result=memory.budget_bytes,
        unit="bytes",
        source="vLLM v1/worker/utils.py:request_memory",
    )


def _weights(setting: Described, memory: Memory, stage: int) -> tuple[Equation, ...]:
    parameters, bits = parameter_count(setting.model), setting.quantization.weight_bits
    layout = setting.layout
    ranks = layout.tensor_parallel_size * layout.pipeline_parallel_size
    thumb = Equation(
        name="weights, rule of thumb",
        formula="parameters x bits / 8 / (TP x PP)",
        values=f"{parameters:,} x {bits} / 8 / {ranks}",
        result=parameters * bits // 8 // ranks,
        unit="bytes",
    )
    where = f" of pipeline stage {stage}" if layout.pipeline_parallel_size > 1 else ""
    exact = Equation(
        name="weights",
        formula=f"sum over the tensors of one rank{where}: rows x columns x stored bits / 8 + scales",
        values=f"{thumb.result:,} by the rule of thumb, {memory.weights_bytes - int(thumb.result):+,} for padded "
        "vocabulary, replicated and 16-bit parts, scales, and how the layers divide",
        result=memory.weights_bytes,
        unit="bytes",
        source="constraints/weights/parameter_bytes.py, equal to vLLM 0.33's parameter bytes",
    )
    return thumb, exact


def _activation(flags: EngineFlags, terms: MemoryTerms, memory: Memory, stage: int) -> Equation:
    peak, tokens = terms.activation, flags.max_num_batched_tokens
    sampled = min(flags.max_num_seqs, tokens)
    forward = f"{peak.forward_fixed_bytes[stage]:,} + {peak.forward_bytes_per_token[stage]:,} x {tokens:,}"
    sampler = (
        f"{peak.sampler_fixed_bytes[stage]:,} + {peak.sampler_bytes_per_token[stage]:,} x {tokens:,} "
        f"+ {peak.sampler_bytes_per_sequence[stage]:,} x {sampled:,}"
    )
    return Equation(
        name="activation peak",
        formula="max(fixed + forward bytes x max-num-batched-tokens, "
        "fixed + kept bytes x max-num-batched-tokens + sampler bytes x max-num-seqs)",
        values=f"max({forward}, {sampler})",
        result=memory.activation_peak_bytes,
        unit="bytes",
        source="constraints/memory/activations.py, fitted to start-up logs by release",
    )


def _graphs(flags: EngineFlags, terms: MemoryTerms, memory: Memory) -> Equation:
    graphs = terms.graphs
    if graphs is None:
        values = "0: --enforce-eager captures none"
    else:
        rest = memory.cuda_graph_bytes - graphs.base_bytes if memory.cuda_graph_bytes else 0
        values = (
            f"{graphs.base_bytes:,} + {rest:,} for graphs of {graphs.bytes_per_graph:,} each and "
            f"{graphs.bytes_per_captured_token:,} per token of the largest, with max-num-seqs {flags.max_num_seqs:,}"
        )
    return Equation(
        name="CUDA graphs",
        formula="base + graphs x bytes per graph + largest capture x bytes per token",
        values=values,
        result=memory.cuda_graph_bytes,
        unit="bytes",
        source="constraints/memory/overheads.py, fitted to start-up logs by release",
    )


def _pool(setting: Described, flags: EngineFlags, memory: Memory) -> Equation:
    if flags.num_gpu_blocks_override is not None or flags.kv_cache_memory_bytes is not None:
        asked = flags.num_gpu_blocks_override or flags.kv_cache_memory_bytes
        return Equation(
            name="KV cache pool", formula="as asked", values=f"{asked:,}", result=memory.kv_cache_bytes, unit="bytes"
        )
    in_budget = memory.cuda_graph_in_budget
    terms = [memory.weights_bytes, memory.weights_extra_bytes, memory.activation_peak_bytes, memory.non_torch_bytes]
    terms += [memory.cuda_graph_bytes] if in_budget else []
    resident = {"drafter": memory.draft_bytes, "adapters": memory.lora_bytes}
    names = "".join(f" - {name}" for name, held in resident.items() if held)
    terms[2:2] = [held for held in resident.values() if held]
    formula = f"budget - weights - weight extras{names} - activation peak - other"
    formula += " - CUDA graphs" if in_budget else ""
    values = f"{memory.budget_bytes:,} - " + " - ".join(f"{term:,}" for term in terms)
    if flags.cpu_offload_gib:
        formula, values = formula + " + cpu-offload-gb", f"{values} + {int(flags.cpu_offload_gib * 2**30):,}"
    return Equation(
        name="KV cache pool",
        formula=formula,
        values=values,
        result=memory.kv_cache_bytes,
        unit="bytes",
        source=f"vLLM {setting.engine.version} v1/worker/gpu_worker.py:determine_available_memory",
    )


def _headroom(flags: EngineFlags, terms: MemoryTerms, memory: Memory) -> Equation:
    return Equation(
        name="headroom left",
        formula="reported memory - budget - what must fit outside",
        values=f"{memory.gpu_total_bytes:,} - {terms.budget_bytes(flags.gpu_memory_utilization):,} "
        f"- {memory.headroom_needed_bytes:,}",
        result=memory.headroom_bytes - memory.headroom_needed_bytes,
        unit="bytes",
        source="constraints/rules/startup_headroom.py",
    )


def _speed(performance: Performance | None) -> tuple[Equation, ...]:
    """How the speeds hang together; the times themselves come from the step-time model."""
    if performance is None:
        return ()
    output_tokens = round(performance.output_tokens_per_s / performance.requests_per_s)
    ttft, tpot = performance.ttft_ms, performance.tpot_ms or 0.0
    return (
        Equation(
            name="end-to-end time",
            formula="TTFT + TPOT x (output tokens - 1)",
            values=f"{ttft:.3f} + {tpot:.4f} x {output_tokens - 1:,}",
            result=performance.e2e_ms,
            unit="ms",
            source="constraints/speed/steady_state.py: TTFT and TPOT from the step time, step_time.py beside it",
        ),
        Equation(
            name="requests per second",
            formula="users / end-to-end seconds",
            values=f"{performance.concurrency:,} / {performance.e2e_ms / 1000:.4f}",
            result=performance.requests_per_s,
            unit="requests/s",
            source="constraints/speed/latency.py; the times come from the step-time model",
        ),
        Equation(
            name="throughput",
            formula="requests per second x output tokens",
            values=f"{performance.requests_per_s:.4f} x {output_tokens:,}",
            result=performance.output_tokens_per_s,
            unit="tokens/s",
        ),
    )
