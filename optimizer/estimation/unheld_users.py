"""The users that were asked and that a configuration does not hold at once."""

from bisect import bisect_right

from vllm_opt.constraints.decisions.configuration import EngineFlags
from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.kv.held_blocks import held_blocks, tokens_held
from vllm_opt.constraints.memory.ledger import MemoryTerms
from vllm_opt.optimizer.contract.answer import Memory
from vllm_opt.optimizer.contract.request import EstimateRequest
from vllm_opt.optimizer.estimation.media import lengths_with_images
from vllm_opt.optimizer.estimation.resolution import Setting
from vllm_opt.optimizer.estimation.resolved_request import typical_request
from vllm_opt.profiles.normal import normal_quantile
from vllm_opt.profiles.nouns.workload import ContextsInFlight, Targets
from vllm_opt.profiles.reading.quantities import counted


def unheld_users(
    setting: Setting, request: EstimateRequest, terms: MemoryTerms, flags: EngineFlags, memory: Memory
) -> tuple[Violation, ...]:
    """The concurrency asked against what is admitted and held.

    Sequences are counted at max_model_len, or where the typical lengths are stated at those, as `solve` sizes its
    plans (`Targets.contexts_in_flight`): the same flags are then enough for both.
    """
    if request.concurrency is None:
        return ()
    engines = setting.layout.data_parallel_size * setting.replicas
    held, length = min(flags.max_num_seqs, int(memory.running_concurrency)), "max_model_len"
    if request.input_tokens is not None or request.output_tokens is not None:
        targets = _typical(setting, request, flags)
        held = max(held, _most_held(terms, targets, flags, memory))
        length = counted(tokens_held(terms.kv, targets, max(1, held)), "token")
    if held * engines >= request.concurrency:
        return ()
    return (
        Violation(
            rule="concurrency",
            message=(
                f"{counted(held * engines, 'sequence')} of {length} run at once and {request.concurrency:,} are asked; "
                "lower max_model_len, use an fp8 KV cache, raise max_num_seqs, or add GPUs"
            ),
            needed=request.concurrency,
            available=held * engines,
            unit="sequences",
        ),
    )


def _typical(setting: Setting, request: EstimateRequest, flags: EngineFlags) -> Targets:
    lengths = typical_request(setting.model, request, flags.max_model_len)
    lengths = lengths_with_images(lengths, setting.model, request, request.input_tokens)
    return Targets(
        target_context=flags.max_model_len, concurrency=1, mean_context=flags.max_model_len,
        contexts_in_flight=ContextsInFlight.of_lengths(*lengths, quantile=normal_quantile(request.confidence)),
    )  # fmt: skip


def _most_held(terms: MemoryTerms, targets: Targets, flags: EngineFlags, memory: Memory) -> int:
    """Sequences of typical length that one engine admits and holds, one full context beside them."""

    def needed(sequences: int) -> int:
        return held_blocks(terms.kv, targets, sequences, flags.max_num_batched_tokens)

    return bisect_right(range(1, flags.max_num_seqs + 1), memory.num_gpu_blocks, key=needed)
