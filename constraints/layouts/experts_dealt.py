"""What redundant experts and divided adapters ask of the ranks that share experts.

Source: vLLM 0.33 `config/parallel.py`, `model_executor/layers/fused_moe/layer.py`, `lora/layers/fused_moe.py`.
"""

from collections.abc import Iterator

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.profiles.nouns.model import Experts, ModelProfile


def expert_violations(model: ModelProfile, layout: Layout) -> Iterator[Violation]:
    """Yield what vLLM refuses of EPLB, and of adapters beside whole experts."""
    ranks = layout.tensor_parallel_size * layout.data_parallel_size
    if layout.expert_parallel and layout.adapters is not None and layout.adapters.fully_sharded_loras:
        yield Violation(
            rule="compatibility",
            message="Fused MoE LoRA does not support enable_expert_parallel=True together with "
            "fully_sharded_loras=True.",
        )
    extra = layout.num_redundant_experts
    if not extra:
        return
    if not layout.expert_parallel or ranks == 1:
        message = "EPLB requires --enable-expert-parallel and tensor or data parallelism."
        yield Violation(rule="compatibility", message=message)
        return
    counts = {kind.feed_forward.num_experts for kind in model.layer_kinds if isinstance(kind.feed_forward, Experts)}
    for count in sorted(counts):
        if (count + extra) % ranks:
            yield Violation(
                rule="divisibility",
                message="EPLB currently only supports even distribution of experts across ranks. Got "
                f"{count + extra} experts and {ranks} EP ranks.",
                needed=-(-(count + extra) // ranks) * ranks,
                available=count + extra,
                unit="experts",
            )
