"""Every rule twice: its `check` on a Deployment and its linear form in a CP-SAT model; far off, on and past the edge.

The model is Llama 3.1 8B on one H100 under vLLM 0.33. The fitted terms are replaced by round numbers, so that every
edge is computed by hand and a new fit moves none of them.
"""

import math
from dataclasses import replace

import pytest
from ortools.sat.python import cp_model
from strategies import offer

from vllm_opt.constraints.decisions.configuration import EngineFlags, Layout
from vllm_opt.constraints.decisions.speculation import Speculation
from vllm_opt.constraints.judging.decision_space import Mode, SequencePoint, StageMemory
from vllm_opt.constraints.judging.deployment import Deployment, PerformanceBound
from vllm_opt.constraints.kv.groups import CacheLayer
from vllm_opt.constraints.memory.activations import ActivationPeak
from vllm_opt.constraints.memory.ledger import MemoryTerms, memory_terms
from vllm_opt.constraints.memory.overheads import FittedBytes, GraphMemory
from vllm_opt.constraints.rules import RULE_NAMES, RULES, violations
from vllm_opt.optimizer.cpsat import model as model_module
from vllm_opt.optimizer.cpsat.model import build_model
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.nouns.engine import GraphCapture
from vllm_opt.profiles.nouns.quality import Quality
from vllm_opt.profiles.nouns.workload import Targets

CATALOG = Catalog()
MODEL, H100 = CATALOG.model("meta-llama/Llama-3.1-8B-Instruct"), CATALOG.gpu("h100")
BF16, RELEASE = CATALOG.quantization("bf16"), CATALOG.engine("0.33.0")[0]
LAYOUT = Layout(gpu=H100.id)
PHYSICS = memory_terms(MODEL, BF16, LAYOUT, RELEASE, H100)

LIMIT = 131_072
BLOCK = 2 * 32 * 8 * 128 * 2 * 16
WEIGHTS, ROPE_TABLE = 8_030_261_248 * 2, LIMIT * 128 * 2
PER_TOKEN, NON_TORCH, CUDA_CONTEXT = 100_000, 250_000_000, 500_000_000
OUTSIDE = WEIGHTS + ROPE_TABLE + PER_TOKEN * 2048 + NON_TORCH
"""In the budget besides the KV cache, with 2,048 tokens per step and no CUDA graphs."""


def terms_of(budget: int, context: int = CUDA_CONTEXT, layout: Layout = LAYOUT) -> MemoryTerms:
    """A GPU half of which is `budget` bytes."""
    return replace(
        PHYSICS, layout=layout, total_bytes=2 * budget, graphs=None, non_torch=FittedBytes(NON_TORCH, 0),
        activation=ActivationPeak((0,), (PER_TOKEN,), (0,), (0,), (0,), 0.0), context=FittedBytes(context, 0),
    )  # fmt: skip


def recovery(share: float, deviation: float = 0.0) -> Quality:
    """A pooled mean of this share, known so well."""
    return Quality(log_mean=math.log(share), log_deviation=deviation)


def deployment(
    *, terms: MemoryTerms | None = None, layout: dict[str, object] | None = None,
    flags: dict[str, object] | None = None, targets: dict[str, object] | None = None, **fields: object,
) -> Deployment:  # fmt: skip
    """Eight sequences of 800 tokens on average and 1,600 at most, with room for a thousand KV blocks."""
    known = {
        "model": MODEL, "quantization": BF16, "gpu": H100, "engine": RELEASE, "replicas": 1,
        "offers": (offer(1, 2.5, up_to_gpus=8),), "quality": recovery(1.0), "quality_accepted": False,
        "performance": PerformanceBound(ttft_ms=100.0, tpot_ms=10.0, output_tokens_per_s=1000.0),
    }  # fmt: skip
    sizes = {"max_model_len": 1600, "max_num_seqs": 8, "max_num_batched_tokens": 2048, "gpu_memory_utilization": 0.5}
    asked = {"target_context": 1600, "mean_context": 800, "concurrency": 8}
    return Deployment(
        layout=LAYOUT.model_copy(update=layout or {}),
        flags=EngineFlags(**{**sizes, **(flags or {})}),
        targets=Targets(**{**asked, **(targets or {})}),
        terms=terms or terms_of(OUTSIDE + 1000 * BLOCK),
        **{**known, **fields},
    )


def test_the_round_numbers_stand_beside_the_models_own() -> None:
    assert (PHYSICS.weights, PHYSICS.weights_extra, PHYSICS.kv.block_bytes) == ((WEIGHTS,), (ROPE_TABLE,), (BLOCK,))
    assert violations(deployment()) == ()
    assert deployment().num_gpu_blocks == 1000


AWQ = CATALOG.quantization("awq")
V100, T4, A100 = CATALOG.gpu("v100"), CATALOG.gpu("t4"), CATALOG.gpu("a100-sxm-80gb")
ROOM_FOR_LONG = terms_of(OUTSIDE + 9000 * BLOCK)
ONE = {"flags": {"max_num_seqs": 1}, "targets": {"concurrency": 1}}
ONE_REQUEST = OUTSIDE + 101 * BLOCK
"""1,600 tokens in blocks of 16, and the null block."""
EIGHT_SEQUENCES = OUTSIDE + (1 + 8 * 50) * BLOCK
POOL = {"flags": {"kv_cache_memory_bytes": 1000 * BLOCK}}
WITH_POOL = OUTSIDE + 1000 * BLOCK + CUDA_CONTEXT
BUDGET = OUTSIDE + 1000 * BLOCK


def loaded_at(peak: int) -> MemoryTerms:
    """A GPU of twice BUDGET bytes, whose weights take `peak` bytes while they are loaded."""
    return replace(terms_of(BUDGET), load_peak=(peak,))


UNCUT = {"enable_chunked_prefill": False}

CHECKS = {
    "divisibility: a stage per layer": (
        "divisibility",
        {"layout": {"pipeline_parallel_size": 2}},
        {"layout": {"pipeline_parallel_size": 32, "nodes": 4}, "targets": {"max_gpus": 64}},
        {"layout": {"pipeline_parallel_size": 33, "nodes": 5}, "targets": {"max_gpus": 64}},
        (33, 32, "layers"),
    ),
    "compatibility: lowest compute capability": (
        "compatibility",
        {"quantization": AWQ, "gpu": A100},
        {"quantization": AWQ, "gpu": T4},
        {"quantization": AWQ, "gpu": V100},
        (75, 70, "compute capability"),
    ),
    "context_length: the model's limit": (
        "context_length",
        {},
        {"terms": ROOM_FOR_LONG, "flags": {"max_model_len": LIMIT}},
        {"terms": ROOM_FOR_LONG, "flags": {"max_model_len": LIMIT + 1}},
        (LIMIT + 1, LIMIT, "tokens"),
    ),
    "context_length: the context asked": (
        "context_length",
        {"targets": {"target_context": 800}},
        {"targets": {"target_context": 1600}},
        {"targets": {"target_context": 1601}},
        (1601, 1600, "tokens"),
    ),
    "quality: the floor": (
        "quality",
        {"quality": recovery(1.0)},
        {"quality": recovery(0.98)},
        {"quality": recovery(0.9799)},
        (0.98, 0.9799, "recovery"),
    ),
    "quality: no evidence": (
        "quality",
        {"quality": recovery(1.0)},
        {"quality": Quality(), "quality_accepted": True},
        {"quality": Quality()},
        (0.98, None, "recovery"),
    ),
    "memory_budget: one full request": (
        "memory_budget",
        ONE,
        {**ONE, "terms": terms_of(ONE_REQUEST)},
        {**ONE, "terms": terms_of(ONE_REQUEST - 1)},
        (101 * BLOCK, 101 * BLOCK - 1, "bytes"),
    ),
    "memory_budget: a pool beyond the GPU": (
        "memory_budget",
        POOL,
        {**POOL, "terms": terms_of(WITH_POOL // 2)},
        {**POOL, "terms": terms_of(WITH_POOL // 2 - 1)},
        (WITH_POOL, WITH_POOL - 2, "bytes"),
    ),
    "memory_budget: 16-bit weights before they are 8-bit": (
        "memory_budget",
        {"terms": loaded_at(OUTSIDE)},
        {"terms": loaded_at(2 * BUDGET - CUDA_CONTEXT)},
        {"terms": loaded_at(2 * BUDGET - CUDA_CONTEXT + 1)},
        (2 * BUDGET + 1, 2 * BUDGET, "bytes"),
    ),
    "startup_headroom": (
        "startup_headroom",
        {},
        {"terms": terms_of(EIGHT_SEQUENCES, context=EIGHT_SEQUENCES)},
        {"terms": terms_of(EIGHT_SEQUENCES, context=EIGHT_SEQUENCES + 1)},
        (EIGHT_SEQUENCES + 1, EIGHT_SEQUENCES, "bytes"),
    ),
    "batching: a token per sequence": (
        "batching",
        {},
        {"flags": {"max_num_batched_tokens": 8}},
        {"flags": {"max_num_batched_tokens": 7}},
        (8, 7, "tokens"),
    ),
    "batching: a whole prompt": (
        "batching",
        {"layout": UNCUT},
        {"layout": UNCUT, "flags": {"max_num_batched_tokens": 1600}},
        {"layout": UNCUT, "flags": {"max_num_batched_tokens": 1599}},
        (1600, 1599, "tokens"),
    ),
    "concurrency: admission": (
        "concurrency",
        ONE | {"flags": {"max_num_seqs": 8}},
        {"replicas": 2, "targets": {"concurrency": 16}},
        {"replicas": 2, "targets": {"concurrency": 17}},
        (17, 16, "sequences"),
    ),
    "concurrency: the pool": (
        "concurrency",
        {},
        {"terms": terms_of(EIGHT_SEQUENCES)},
        {"terms": terms_of(EIGHT_SEQUENCES - 1)},
        (401, 400, "blocks"),
    ),
    "ttft": (
        "ttft",
        {},
        {"targets": {"max_ttft_ms": 100.0}},
        {"targets": {"max_ttft_ms": 99.9}},
        (100.0, 99.9, "ms"),
    ),
    "tpot": (
        "tpot",
        {"performance": PerformanceBound(100.0, None, 1000.0), "targets": {"max_tpot_ms": 0.1}},
        {"targets": {"max_tpot_ms": 10.0}},
        {"targets": {"max_tpot_ms": 9.9}},
        (10.0, 9.9, "ms"),
    ),
    "throughput": (
        "throughput",
        {},
        {"targets": {"min_output_tokens_per_s": 1000.0}},
        {"targets": {"min_output_tokens_per_s": 1000.1}},
        (1000.1, 1000.0, "tokens/s"),
    ),
    "gpu_count: the ceiling": (
        "gpu_count",
        {},
        {"replicas": 16},
        {"replicas": 17},
        (17, 16, "GPUs"),
    ),
    "gpu_count: exactly": (
        "gpu_count",
        {"targets": {"gpus": 1}},
        {"replicas": 17, "targets": {"gpus": 17}},
        {"replicas": 16, "targets": {"gpus": 17}},
        (16, 17, "GPUs"),
    ),
    "budget: four GPUs at 2.50": (
        "budget",
        {"offers": ()},
        {"replicas": 4, "targets": {"max_hourly_cost": 10.0}},
        {"replicas": 4, "targets": {"max_hourly_cost": 9.999999}},
        (10.0, 9.999999, "USD/hour"),
    ),
    "budget: no price": (
        "budget",
        {"targets": {"max_hourly_cost": 100.0}},
        {"targets": {"max_hourly_cost": 2.5}},
        {"offers": (), "targets": {"max_hourly_cost": 100.0}},
        (None, 100.0, "USD/hour"),
    ),
    "budget: one GPU of a machine of eight": (
        "budget",
        {"offers": (offer(8, 16.0),), "targets": {"max_hourly_cost": 100.0}},
        {"offers": (offer(8, 16.0),), "replicas": 8, "targets": {"max_hourly_cost": 16.0}},
        {"offers": (offer(8, 16.0),), "targets": {"max_hourly_cost": 15.99}},
        (16.0, 15.99, "USD/hour"),
    ),
    "gpu_count: the stock": (
        "gpu_count",
        {"offers": (offer(8, 0.0, stock_gpus=4),)},
        {"offers": (offer(8, 0.0, stock_gpus=4),), "replicas": 4},
        {"offers": (offer(8, 0.0, stock_gpus=4),), "replicas": 5},
        (5, 4, "GPUs"),
    ),
}


@pytest.mark.parametrize("case", CHECKS)
def test_check_holds_up_to_the_edge_and_names_both_sides_beyond(case: str) -> None:
    rule, easy, edge, beyond, numbers = CHECKS[case]
    assert violations(deployment(**easy)) == ()
    assert violations(deployment(**edge)) == ()
    found = violations(deployment(**beyond))
    assert [violation.rule for violation in found] == [rule]
    assert (found[0].needed, found[0].available, found[0].unit) == numbers
    assert violations(deployment(**beyond), without=frozenset({rule})) == ()


def test_no_rule_is_without_a_case() -> None:
    assert {case[0] for case in CHECKS.values()} == set(RULE_NAMES) - {"state_blocks"}


def with_states(blocks: int, *, eager: bool = False) -> MemoryTerms:
    """A hybrid of one state group and one attention group, with CUDA graphs that take nothing."""
    state = CacheLayer("state", 16, BLOCK, state_pages=1)
    attention = CacheLayer("full", 16, BLOCK)
    terms = terms_of(OUTSIDE + blocks * BLOCK)
    free = GraphMemory(0, 0, 0, GraphCapture(full_graphs=True), 512, 0.0)
    kv = replace(terms.kv, requests=((state, 1), (attention, 1)))
    return replace(terms, kv=kv, graphs=None if eager else free)


def test_a_model_with_states_has_a_block_per_sequence() -> None:
    """Where the concurrency asked is held, each sequence has more blocks than one: `estimate` asks for none."""
    flags = {"max_num_seqs": 300}
    without = frozenset({"concurrency"})
    assert violations(deployment(terms=with_states(300), flags=flags), without=without) == ()
    (found,) = violations(deployment(terms=with_states(299), flags=flags), without=without)
    assert (found.rule, found.needed, found.available, found.unit) == ("state_blocks", 300, 299, "blocks")
    assert found.message.startswith("max_num_seqs (300) exceeds available Mamba cache blocks (299). Each decode")
    for harmless in (
        {"terms": with_states(299, eager=True)},
        {"terms": replace(with_states(299), engine=CATALOG.engine("0.19")[0])},
        {"terms": replace(with_states(299), kv=PHYSICS.kv)},
    ):
        assert violations(deployment(**harmless, flags=flags), without=without) == ()


def test_delta_nets_of_early_releases_have_a_block_per_captured_sequence() -> None:
    """vllm-project/vllm issue 34094 and QwenLM/Qwen3-Coder issue 559: num_cache_lines >= batch while capturing."""
    without = frozenset({"concurrency"})
    terms = replace(with_states(299), engine=CATALOG.engine("0.16")[0])
    assert terms.graphs is not None
    checked = replace(terms, graphs=replace(terms.graphs, checks_states=True))
    assert violations(deployment(terms=terms, flags={"max_num_seqs": 300}), without=without) == ()
    (found,) = violations(deployment(terms=checked, flags={"max_num_seqs": 300}), without=without)
    assert (found.rule, found.needed, found.available, found.unit) == ("state_blocks", 300, 299, "blocks")
    assert found.message.startswith("assert num_cache_lines >= batch")
    assert violations(deployment(terms=checked, flags={"max_num_seqs": 299}), without=without) == ()
    few = replace(checked, graphs=replace(checked.graphs or terms.graphs, sizes=(1, 64, 256)))
    assert violations(deployment(terms=few, flags={"max_num_seqs": 300}), without=without) == ()


def point(**fields: object) -> SequencePoint:
    """Eight sequences of 800 tokens."""
    known = {
        "max_num_seqs": 8, "graph_bytes": 0, "encoder_bytes": 0, "headroom_needed_bytes": CUDA_CONTEXT,
        "blocks_needed": 401,
        "ttft_bound_ms": 100.0, "tpot_bound_ms": 10.0, "bound_tokens_per_s": 1000.0, "e2e_us": 1_000_000,
        "ttft_us": 100_000,
        "output_millitokens_per_s": 1_100_000,
    }  # fmt: skip
    return SequencePoint(**{**known, **fields})


def stage(
    fixed: int = OUTSIDE, *, forward: int = 0, sampler: tuple[int, int] = (0, 0), block: int = BLOCK
) -> StageMemory:
    """One pipeline stage whose memory is all fixed, unless said otherwise."""
    return StageMemory(fixed, forward, *sampler, block)


def mode(sequences: dict[str, object] | None = None, layout: dict[str, object] | None = None, **fields: object) -> Mode:
    """One replica on one GPU for 2.50 USD per hour; `sequences` changes its only point."""
    known = {
        "index": 0, "terms": terms_of(BUDGET, layout=LAYOUT.model_copy(update=layout or {})), "gpu": H100.id,
        "max_num_batched_tokens": 2048, "replicas": 1, "engines": 1, "gpu_count": 1, "microusd_per_hour": 2_500_000,
        "price_microusd": 2_500_000, "stages": (stage(),), "startup_blocks": 101, "publisher_rank": 0,
        "points": (point(**(sequences or {})),),
    }  # fmt: skip
    return Mode(**{**known, **fields})


def chosen_mode(modes: list[Mode], limit: int = LIMIT, **targets: object) -> int | None:
    """The mode that the solver may run; None when every one is ruled out."""
    asked = Targets(**{"target_context": 1600, "mean_context": 800, "concurrency": 8, **targets})
    space = build_model(modes, asked, (0.5,), limit)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    status = solver.solve(space.model)
    if status == cp_model.INFEASIBLE:
        return None
    assert status == cp_model.OPTIMAL
    return [solver.boolean_value(literal) for literal in space.chosen].index(True)


def test_the_model_gives_each_sequence_a_block_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_module, "RULES", tuple(rule for rule in RULES if rule.name != "concurrency"))
    sequences = {"max_num_seqs": 300, "blocks_needed": 400}
    for blocks, found in ((300, 0), (299, None)):
        only = {"terms": with_states(blocks), "stages": (stage(),), "startup_blocks": 1}
        assert chosen_mode([mode(sequences, **only)], concurrency=1) == found


LINEAR = {
    "memory_budget: pool of one request": (
        "memory_budget", {"startup_blocks": 1000}, {"startup_blocks": 1001}, {},
    ),
    "memory_budget: the second stage": (
        "memory_budget",
        {"stages": (stage(block=BLOCK // 2), stage(BUDGET - 401 * BLOCK))},
        {"stages": (stage(block=BLOCK // 2), stage(BUDGET - 401 * BLOCK + 1))},
        {},
    ),
    "memory_budget: the forward pass": (
        "memory_budget", {"stages": (stage(forward=599 * BLOCK),)}, {"stages": (stage(forward=599 * BLOCK + 1),)}, {},
    ),
    "memory_budget: the sampler of eight sequences": (
        "memory_budget",
        {"stages": (stage(sampler=(591 * BLOCK, BLOCK)),)}, {"stages": (stage(sampler=(591 * BLOCK + 1, BLOCK)),)}, {},
    ),
    "memory_budget: CUDA graphs": (
        "memory_budget",
        {"sequences": {"graph_bytes": 599 * BLOCK}}, {"sequences": {"graph_bytes": 599 * BLOCK + 1}}, {},
    ),
    "memory_budget: the peak of loading": (
        "memory_budget", {"load_bytes": 2 * BUDGET}, {"load_bytes": 2 * BUDGET + 1}, {},
    ),
    "startup_headroom": (
        "startup_headroom",
        {"sequences": {"headroom_needed_bytes": BUDGET}}, {"sequences": {"headroom_needed_bytes": BUDGET + 1}}, {},
    ),
    "batching: a token per sequence": (
        "batching", {"max_num_batched_tokens": 8}, {"max_num_batched_tokens": 7}, {},
    ),
    "batching: a whole prompt": (
        "batching",
        {"layout": UNCUT, "max_num_batched_tokens": 1600}, {"layout": UNCUT, "max_num_batched_tokens": 1599}, {},
    ),
    "concurrency: admission": (
        "concurrency",
        {"engines": 2, "sequences": {"max_num_seqs": 9}}, {"engines": 2, "sequences": {"max_num_seqs": 8}},
        {"concurrency": 17},
    ),
    "concurrency: the pool": (
        "concurrency", {"sequences": {"blocks_needed": 1000}}, {"sequences": {"blocks_needed": 1001}}, {},
    ),
    "concurrency: the pool, of which each sequence takes fifty blocks": (
        "concurrency",
        {"sequences": {"blocks_needed": 1000, "blocks_each": 50}},
        {"sequences": {"blocks_needed": 1001, "blocks_each": 50}}, {},
    ),
    "ttft": (
        "ttft",
        {"sequences": {"ttft_bound_ms": 200.0}}, {"sequences": {"ttft_bound_ms": math.nextafter(200.0, 201)}},
        {"max_ttft_ms": 200.0},
    ),
    "tpot": (
        "tpot",
        {"sequences": {"tpot_bound_ms": 20.0}}, {"sequences": {"tpot_bound_ms": math.nextafter(20.0, 21)}},
        {"max_tpot_ms": 20.0},
    ),
    "tpot: one output token has none": (
        "tpot",
        {"sequences": {"tpot_bound_ms": None}}, {"sequences": {"tpot_bound_ms": 0.2}}, {"max_tpot_ms": 0.1},
    ),
    "throughput": (
        "throughput",
        {"sequences": {"bound_tokens_per_s": 900.0}}, {"sequences": {"bound_tokens_per_s": math.nextafter(900.0, 0)}},
        {"min_output_tokens_per_s": 900.0},
    ),
    "gpu_count: the ceiling": ("gpu_count", {"gpu_count": 4}, {"gpu_count": 5}, {"max_gpus": 4}),
    "gpu_count: exactly": ("gpu_count", {"gpu_count": 4}, {"gpu_count": 3}, {"gpus": 4}),
    "budget": (
        "budget", {"price_microusd": 10_000_000}, {"price_microusd": 10_000_001}, {"max_hourly_cost": 10.0},
    ),
    "budget: no price": (
        "budget", {"price_microusd": 0}, {"price_microusd": None}, {"max_hourly_cost": 10.0},
    ),
}  # fmt: skip


def test_a_budget_that_is_overdrawn_has_nothing_left() -> None:
    """Sizes of a violation are counted from zero: what is available is never negative, and never a byte too many."""
    (found,) = violations(deployment(terms=terms_of(OUTSIDE - 5)), without=frozenset({"concurrency"}))
    assert (found.rule, found.needed, found.available, found.unit) == ("memory_budget", 101 * BLOCK, 0, "bytes")


def test_memory_that_others_hold_is_refused_with_vllm_s_own_words() -> None:
    """A GPU of twice BUDGET asked for half of itself: BUDGET stays outside, and other processes hold a byte more."""
    free, held = terms_of(BUDGET), replace(terms_of(BUDGET, BUDGET + 1), taken_at_start_bytes=BUDGET + 1)
    assert violations(deployment(terms=free)) == ()
    (found,) = violations(deployment(terms=held))
    assert (found.rule, found.available) == ("startup_headroom", BUDGET)
    assert "on startup is less than desired GPU memory utilization (0.5, " in found.message


@pytest.mark.parametrize(("tokens", "kept"), [(4, True), (3, False)])
def test_a_step_holds_a_token_and_its_drafts(tokens: int, kept: bool) -> None:
    drafts = {"speculation": Speculation(method="ngram", num_speculative_tokens=3)}
    flags = {"max_num_seqs": 1, "max_num_batched_tokens": tokens}
    found = [each for each in violations(deployment(layout=drafts, flags=flags)) if each.unit == "tokens"]
    expected = [] if kept else [("batching", 4, 3)]
    assert [(each.rule, each.needed, each.available) for each in found] == expected


@pytest.mark.parametrize("case", LINEAR)
def test_the_linear_form_has_the_same_edge(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rule, edge, beyond, targets = LINEAR[case]
    assert chosen_mode([mode()]) == 0
    assert chosen_mode([mode(**edge)], **targets) == 0
    assert chosen_mode([mode(**beyond)], **targets) is None
    assert chosen_mode([mode(**beyond), mode(index=1, **edge)], **targets) == 1
    monkeypatch.setattr(model_module, "RULES", tuple(other for other in RULES if other.name != rule))
    assert chosen_mode([mode(**beyond)], **targets) == 0


def test_the_linear_form_of_context_length_bounds_the_context_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen_mode([mode()], limit=1601) == 0
    assert chosen_mode([mode()], limit=1600) == 0
    assert chosen_mode([mode()], limit=1599) is None
    monkeypatch.setattr(model_module, "RULES", tuple(rule for rule in RULES if rule.name != "context_length"))
    assert chosen_mode([mode()], limit=1599) == 0


def test_the_floor_holds_for_the_low_end_at_the_confidence_asked() -> None:
    uncertain = recovery(0.985, 0.005)
    central = deployment(quality=uncertain)
    assert [item for item in violations(central) if item.rule == "quality"] == []
    asked = deployment(quality=uncertain, confidence=0.9)
    (found,) = [item for item in violations(asked) if item.rule == "quality"]
    assert found.available == pytest.approx(0.985 * math.exp(-1.2815515655 * 0.005), abs=1e-9)
    assert "at least 97.9 % at the confidence" in found.message.replace("97.9%", "97.9 %")


def test_losses_of_weights_and_cache_multiply() -> None:
    both = recovery(0.99, 0.003).times(recovery(0.985, 0.004))
    assert both.recovery == pytest.approx(0.99 * 0.985)
    assert both.log_deviation == pytest.approx(0.005)
    assert recovery(0.99).times(Quality()).recovery is None
    assert recovery(1.02).recovery == 1.0


def test_a_mode_that_keeps_too_little_is_never_chosen() -> None:
    assert chosen_mode([replace(mode(), keeps_quality=False)]) is None
    assert chosen_mode([mode()]) == 0


def test_what_a_layout_is_adds_nothing_to_the_model() -> None:
    space = build_model([mode()], deployment().targets, (0.5,), LIMIT)
    before = len(space.model.proto.constraints)
    for rule in RULES:
        if rule.name in {"divisibility", "compatibility", "quality"}:
            rule.add(space)
    assert len(space.model.proto.constraints) == before
