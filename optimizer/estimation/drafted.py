"""From speed without drafts to speed with them: the factor at the load asked, its interval, and where it turns."""

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.speed.speculation import (
    DraftCost,
    Prompts,
    crossover,
    release_cost,
    speed_up,
    tokens_per_step,
)
from vllm_opt.constraints.speed.step_time import LatencyCoefficients
from vllm_opt.constraints.weights.parameter_bytes import draft_bytes, weight_bytes
from vllm_opt.optimizer.contract.performance import Performance
from vllm_opt.profiles.nouns.acceptance import AcceptanceRate, load_acceptance
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import ModelProfile
from vllm_opt.profiles.nouns.quantization import Quantization

MOST_SEQUENCES = 1024


def acceptance_of(layout: Layout, asked: float | None) -> AcceptanceRate | None:
    """Return the acceptance asked, or the method's default; None without drafts."""
    if layout.speculation is None:
        return None
    default = load_acceptance().of(layout.speculation.method)
    if asked is None:
        return default
    return default.model_copy(update={"acceptance": asked, "low": asked, "high": asked, "basis": "given"})


def draft_cost(
    model: ModelProfile, quantization: Quantization, layout: Layout, gpu: GpuProfile, release: str
) -> DraftCost:
    """Return one pass of the drafter in shares of a step of the target, on one rank."""
    drafts = layout.speculation
    own = sum(draft_bytes(model, quantization, layout, gpu))
    target = max(1, sum(weight_bytes(model, quantization, layout, gpu)))
    layers = 1
    if drafts is not None and drafts.shape is not None:
        layers = drafts.shape.num_layers
    elif drafts is not None and drafts.model is not None:
        layers = drafts.model.num_hidden_layers
    return DraftCost(own / target, layers / model.num_hidden_layers, *release_cost(release))


def running_sequences(plain: Performance, *, engines: int, max_num_seqs: int, output_tokens: int) -> float:
    """Return how many sequences of one engine decode at once on average, without drafts."""
    if plain.tpot_ms is None:
        return 1.0
    share = plain.tpot_ms * (output_tokens - 1) / max(plain.e2e_ms, 1e-9)
    return max(1.0, min(max_num_seqs, plain.concurrency / engines) * share)


def with_drafts(
    plain: Performance, coefficients: LatencyCoefficients, layout: Layout, cost: DraftCost, rate: AcceptanceRate, *,
    engines: int, lengths: tuple[int, int], max_num_seqs: int, prefix_hit_share: float = 0.0,
) -> Performance:  # fmt: skip
    """Return the performance with drafts: TPOT and rates move by the speed-up at that many running sequences.

    TTFT is that without drafts: prompts are computed in the same steps, those of the other sequences beside each
    decode. The interval is widened by the low and the high acceptance.
    """
    drafts = layout.speculation
    if drafts is None or plain.tpot_ms is None:
        return plain
    running = running_sequences(plain, engines=engines, max_num_seqs=max_num_seqs, output_tokens=lengths[1])
    context = lengths[0] + lengths[1] / 2
    computed = lengths[0] * (1 - prefix_hit_share)
    prompts = Prompts((running - 1) * computed / lengths[1], lengths[0] - computed / 2)
    factor, low, high = (
        float(speed_up(coefficients, drafts, cost, value, running, context, prompts))
        for value in (rate.acceptance, rate.low, rate.high)
    )
    decoding = plain.tpot_ms * (lengths[1] - 1)
    e2e = plain.e2e_ms - decoding + decoding / factor
    faster = factor if plain.saturated else plain.e2e_ms / e2e
    interval = dict(plain.interval)
    if "tpot_ms" in interval:
        fast, slow = interval["tpot_ms"]
        interval["tpot_ms"] = fast / high, slow / low
    if "output_tokens_per_s" in interval:
        slow, fast = interval["output_tokens_per_s"]
        interval["output_tokens_per_s"] = slow * faster * low / factor, fast * faster * high / factor
    return plain.model_copy(
        update={
            "tpot_ms": plain.tpot_ms / factor,
            "e2e_ms": e2e,
            "output_tokens_per_s": plain.output_tokens_per_s * faster,
            "total_tokens_per_s": plain.total_tokens_per_s * faster,
            "requests_per_s": plain.requests_per_s * faster,
            "interval": interval,
        }
    )


def draft_note(
    coefficients: LatencyCoefficients, layout: Layout, cost: DraftCost, rate: AcceptanceRate, context: float
) -> str:
    """Say what drafts gain alone and where they turn into a loss."""
    drafts = layout.speculation
    assert drafts is not None
    gained = float(tokens_per_step(rate.acceptance, drafts.num_speculative_tokens))
    alone = float(speed_up(coefficients, drafts, cost, rate.acceptance, 1.0, context))
    turn = crossover(coefficients, drafts, cost, rate.acceptance, context, MOST_SEQUENCES)
    until = f"up to {turn - 1} sequences per engine" if turn is not None else f"up to {MOST_SEQUENCES:,} sequences"
    words = f"{alone:.2f} times as fast for one user, and helps {until}" if alone >= 1 else f"slower: {alone:.2f} times"
    return (
        f"speculative decoding ({drafts.method}, {drafts.num_speculative_tokens} drafted): acceptance "
        f"{rate.acceptance:g} ({rate.basis}; {rate.low:g} to {rate.high:g}) gives {gained:.2f} tokens per step; {words}"
    )
