"""memory_budget: everything vLLM keeps inside `gpu_memory_utilization x total` fits, with room for one full request.

    weights + extras + activation(T, S) + non_torch + [v >= 0.20] graphs(S, T) + N * block_bytes <= round(u * total)
    N >= null_block + blocks_per_request(max_model_len, T)
    load_peak + context <= total                      where 16-bit weights are loaded before they are made smaller

per pipeline stage (vLLM 0.33 `v1/core/kv_cache_planning.py:_check_enough_kv_cache_memory`).
"""

from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.judging.decision_space import DecisionSpace
from vllm_opt.constraints.judging.deployment import Deployment
from vllm_opt.constraints.memory.ledger import GIB
from vllm_opt.constraints.memory.startup_errors import format_gib, kv_cache_refusal


class MemoryBudget:
    """The budget holds weights, activations, graphs and a KV pool for at least one full request."""

    name = "memory_budget"

    def check(self, deployment: Deployment) -> tuple[Violation, ...]:
        """Compare needed and available KV blocks on the smallest stage, in bytes."""
        flags, terms = deployment.flags, deployment.terms
        if not terms.loads(deployment.confidence):
            return (self._loading(deployment),)
        blocks = terms.kv.startup_blocks(flags.max_model_len, flags.max_num_batched_tokens)
        for stage, available in enumerate(terms.available_kv_bytes(flags, deployment.confidence)):
            needed = blocks * terms.kv.block_bytes[stage]
            if available < needed or (needed and available <= 0):
                return (
                    Violation(
                        rule=self.name,
                        message=self._message(deployment, stage, needed, available),
                        needed=needed,
                        available=max(0, available),
                        unit="bytes",
                    ),
                )
        return self._beyond_the_gpu(deployment)

    def _loading(self, deployment: Deployment) -> Violation:
        """Weights that are converted while they load do not fit before they are converted."""
        terms, needed = deployment.terms, deployment.terms.load_bytes(deployment.confidence)
        return Violation(
            rule=self.name,
            message=(
                f"CUDA out of memory: vLLM {terms.engine.version} loads the 16-bit weights before it makes "
                f"{deployment.quantization.id} of them, which takes {format_gib(needed)} of "
                f"{format_gib(terms.total_bytes)} GiB per GPU; serve a checkpoint that is stored so, or take more GPUs"
            ),
            needed=needed,
            available=terms.total_bytes,
            unit="bytes",
        )

    def _beyond_the_gpu(self, deployment: Deployment) -> tuple[Violation, ...]:
        """A pool given in bytes or blocks is not bounded by the budget, but by the GPU: vLLM runs out of memory."""
        flags, terms = deployment.flags, deployment.terms
        if flags.kv_cache_memory_bytes is None and flags.num_gpu_blocks_override is None:
            return ()
        tokens, sequences = flags.max_num_batched_tokens, flags.max_num_seqs
        outside = terms.outside_kv_bytes(tokens, sequences, deployment.confidence)
        pools = [count * block for count, block in zip(terms.blocks_by_stage(flags), terms.kv.block_bytes, strict=True)]
        offloaded = int(flags.cpu_offload_gib * GIB)
        needed = max(rest + pool for rest, pool in zip(outside, pools, strict=True)) - offloaded + terms.context.bytes
        if needed <= terms.total_bytes:
            return ()
        return (
            Violation(
                rule=self.name,
                message=(
                    f"CUDA out of memory: weights, activations and the KV cache asked for take {format_gib(needed)} "
                    f"of {format_gib(terms.total_bytes)} GiB; ask for a smaller pool"
                ),
                needed=needed,
                available=terms.total_bytes,
                unit="bytes",
            ),
        )

    @staticmethod
    def _message(deployment: Deployment, stage: int, needed: int, available: int) -> str:
        """vLLM's own words where it would say them, else the two numbers."""
        flags, terms = deployment.flags, deployment.terms
        left = terms.available_kv_bytes(flags, deployment.confidence)
        refusal = kv_cache_refusal(terms.kv, left, flags.max_model_len, flags.max_num_batched_tokens)
        where = f" on pipeline stage {stage}" if terms.stages > 1 else ""
        return refusal or (
            f"one request of {flags.max_model_len} tokens needs {format_gib(needed)} GiB of KV cache{where}, and "
            f"{format_gib(max(0, available))} GiB are left in the budget"
        )

    def add(self, space: DecisionSpace) -> None:
        """fixed + max(forward, sampler + each S, encoder(S)) + graphs(S) + block N <= u M per stage; N >= startup."""
        for mode, chosen in zip(space.modes, space.chosen, strict=True):
            budget, blocks, graphs = space.budget_of(mode), space.num_gpu_blocks, space.graphs_of(mode)
            for at, stage in enumerate(mode.stages):
                fixed = f"stage {at}: {stage.fixed_bytes} fixed"
                kept = stage.fixed_bytes + graphs + stage.block_bytes * blocks
                sampler = stage.sampler_bytes + stage.sampler_bytes_per_sequence * space.max_num_seqs
                forward = space.model.add(kept + stage.forward_bytes <= budget).only_enforce_if(chosen)
                forward.with_name(f"{fixed} + {stage.forward_bytes} forward")
                sampling = space.model.add(kept + sampler <= budget).only_enforce_if(chosen)
                sampling.with_name(f"{fixed} + {stage.sampler_bytes} sampler")
            encoder, first = space.encoder_of(mode), mode.stages[0]
            kept = first.fixed_bytes + graphs + first.block_bytes * blocks
            if any(point.encoder_bytes for point in mode.points):
                seeing = space.model.add(kept + encoder <= budget).only_enforce_if(chosen)
                seeing.with_name(f"stage 0: {first.fixed_bytes} fixed + encoder")
            startup = space.model.add(blocks >= mode.startup_blocks).only_enforce_if(chosen)
            startup.with_name("one request of full length starts")
            if mode.load_bytes > mode.terms.total_bytes:
                loads = f"loading peaks at {mode.load_bytes} of {mode.terms.total_bytes} bytes"
                space.model.add(chosen == 0).with_name(loads)
