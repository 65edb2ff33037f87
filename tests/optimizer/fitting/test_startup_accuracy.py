"""Predicted start-up memory against published logs (tests/data/startup_memory.jsonl), with the bounds we claim."""

import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from vllm_opt.constraints.decisions.violation import LayoutRefused
from vllm_opt.constraints.memory.ledger import memory_terms
from vllm_opt.optimizer.fitting.startup.fit import calibrate, constants_of, main
from vllm_opt.optimizer.fitting.startup.fit_terms import fit_activation, fit_graphs, fit_topology
from vllm_opt.optimizer.fitting.startup.logs import StartupLog, read_logs
from vllm_opt.optimizer.fitting.startup.names import find_gpu, find_model, find_quantization
from vllm_opt.optimizer.fitting.startup.scoring import (
    Scored,
    overfull_share,
    score,
    score_all,
    summarise,
    unused_share,
    weighted_median,
    with_startup,
)
from vllm_opt.optimizer.fitting.startup.table import accuracy_table
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.nouns.startup_constants import StartupMemory, load_startup_memory, release_key, scaled_spreads

DATA = Path(__file__).parents[2] / "data" / "startup_memory.jsonl"
CATALOG = Catalog()


@pytest.fixture(scope="module")
def logs() -> tuple[StartupLog, ...]:
    return read_logs(DATA, CATALOG)[0]


@pytest.fixture(scope="module")
def scored(logs: tuple[StartupLog, ...]) -> tuple[Scored, ...]:
    return score_all(logs)


def of_engine(scored: tuple[Scored, ...], engine: str) -> list[Scored]:
    return [item for item in scored if item.log.engine.engine == engine]


def reference(scored: tuple[Scored, ...]) -> list[Scored]:
    """0.19.0 on H100 with every flag printed."""
    return [
        item
        for item in scored
        if item.log.complete and item.log.release == "0.19.0" and item.log.gpu.id.startswith("h100")
    ]


@pytest.mark.parametrize(
    ("term", "bound"), [("weights", 0.8), ("activation", 12.0), ("kv_pool", 1.5), ("concurrency", 2.5)]
)
def test_mean_error_with_every_flag_known(scored: tuple[Scored, ...], term: str, bound: float) -> None:
    summary = summarise(reference(scored), term)
    assert summary is not None
    assert summary.logs >= 30
    assert summary.mean <= bound


def test_kv_pool_of_all_v1_logs(scored: tuple[Scored, ...]) -> None:
    summary = summarise(of_engine(scored, "v1"), "kv_pool")
    assert summary is not None
    assert summary.logs >= 75
    assert summary.mean <= 3.0


def test_kv_pool_of_v0_logs(scored: tuple[Scored, ...]) -> None:
    """Fourteen logs; those of 0.8.0 to 0.8.3 count with the 0.8 era since these releases have profiles of their own."""
    summary = summarise(of_engine(scored, "v0"), "kv_pool")
    assert summary is not None
    assert summary.median <= 6.0


def test_weights_of_all_v1_logs(scored: tuple[Scored, ...]) -> None:
    summary = summarise(of_engine(scored, "v1"), "weights")
    assert summary is not None
    assert summary.mean <= 0.8


def test_plans_at_confidence_0_9_start_and_leave_little_unused(scored: tuple[Scored, ...]) -> None:
    assert overfull_share(scored) <= 0.10
    assert overfull_share(of_engine(scored, "v1")) <= 0.10
    assert 0.0 <= unused_share(scored) <= 0.05


def test_larger_spreads_fail_less_and_leave_more_unused(logs: tuple[StartupLog, ...]) -> None:
    some = [log for log in logs if log.measured.get("available_kv_gib")][::4]
    memory = load_startup_memory()
    wider = memory.model_copy(update={"eras": tuple(scaled_spreads(era, 5.0) for era in memory.eras)})
    now, then = score_all(some), score_all(some, constants_of(wider))
    assert overfull_share(then) <= overfull_share(now)
    assert unused_share(then) > unused_share(now)


def test_a_re_fit_of_the_topology_terms_reproduces_the_data_file(logs: tuple[StartupLog, ...]) -> None:
    memory = load_startup_memory()
    again = fit_topology(logs, memory)
    for before, after in zip(memory.eras, again.eras, strict=True):
        for old, new in zip(before.non_torch, after.non_torch, strict=True):
            assert new.bytes.value == pytest.approx(old.bytes.value, rel=0.02, abs=1e7)


def test_calibration_stops_at_the_smallest_sufficient_scale(logs: tuple[StartupLog, ...]) -> None:
    exact = [log for log in logs if log.release == "0.19.0" and log.complete][:6]
    before, after = load_startup_memory(), calibrate(exact, load_startup_memory())
    assert after.eras[0].activation_relative_spread <= before.eras[0].activation_relative_spread


def test_the_table_names_every_group_and_marks_the_small_ones(scored: tuple[Scored, ...]) -> None:
    page = accuracy_table(scored, scored, Counter({"release not printed": 7}))
    assert "| 0.19.0 on H100, every flag known | " in page
    assert "| V1 0.19.0 | " in page
    assert "| h100-sxm | " in page
    assert "| b200* | " in page
    assert "7: release not printed" in page
    assert "| KV pool | " in page


def test_near_twins_share_one_vote(logs: tuple[StartupLog, ...]) -> None:
    twins = [log for log in logs if log.weight < 0.2 and "Llama-3.1-8B" in log.model.id]
    assert len(twins) >= 6
    assert sum(log.weight for log in twins) == pytest.approx(round(sum(log.weight for log in twins)))


def test_an_error_is_relative_to_what_was_printed(logs: tuple[StartupLog, ...]) -> None:
    log = next(log for log in logs if log.complete and log.engine.engine == "v1")
    item = score(log)
    assert item is not None
    error = item.error_percent("weights")
    assert error == pytest.approx(100 * (item.predicted["weights"] / log.measured["weights_gib"] - 1))
    assert item.error_percent("nothing") is None


def test_weighted_median() -> None:
    assert weighted_median([(3.0, 1.0), (1.0, 1.0), (2.0, 1.0)]) == 2.0
    assert weighted_median([(1.0, 0.2), (5.0, 1.0)]) == 5.0
    assert math.isnan(weighted_median([]))


def test_eras_apply_from_their_release_on() -> None:
    memory = load_startup_memory()
    assert release_key("0.8.5") < release_key("0.11") < release_key("0.33")
    assert memory.of("v1", "0.19").from_release == "0.18"
    assert memory.of("v0", "0.6.6").from_release == "0.2"
    with pytest.raises(ValueError, match=r"no start-up constants for the v1 engine of vLLM 0\.1"):
        memory.of("v1", "0.1")


def test_other_constants_can_stand_in_for_a_release() -> None:
    engine, _ = CATALOG.engine("0.19.0")
    other = load_startup_memory().of("v1", "0.16")
    assert with_startup(engine, other).startup is other
    assert engine.startup.from_release == "0.18"


def test_names_in_logs_find_the_catalogue(capsys: pytest.CaptureFixture[str]) -> None:
    model = find_model("RedHatAI/Qwen3-14B-FP8-dynamic", CATALOG)
    assert model is not None
    assert model.id == "Qwen/Qwen3-14B"
    assert find_model("somebody/never-heard-of-it", CATALOG) is None
    row = {"model": "RedHatAI/Qwen3-14B-FP8-dynamic", "weight_dtype_or_quant": "compressed-tensors (bfloat16)"}
    found = find_quantization(row, model, CATALOG)
    assert found is not None
    assert found.id == "fp8"
    assert find_quantization({"weight_dtype_or_quant": "exl3"}, model, CATALOG) is None
    gpu = find_gpu({"gpu": "NVIDIA H100 80GB HBM3", "gpu_total_gib": 79.19}, CATALOG)
    assert gpu is not None
    assert gpu.id == "h100-sxm"
    assert find_gpu({"gpu": "A100"}, CATALOG) is None  # 40 or 80 GB
    assert find_gpu({}, CATALOG) is None


def test_what_cannot_be_resolved_is_counted_by_reason(tmp_path: Path) -> None:
    good = json.loads(DATA.read_text(encoding="utf-8").splitlines()[0])
    rows = [
        good,
        {**good, "vllm_version": None},
        {**good, "model": "nobody/nothing"},
        {**good, "notes": "EAGLE drafter"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n", encoding="utf-8")
    logs, reasons = read_logs(path, CATALOG)
    assert len(logs) == 1
    assert reasons == Counter({"release not printed": 1, "model not in the catalogue": 1,
                               "speculative decoding, CPU offload or another loader": 1})  # fmt: skip


@pytest.mark.parametrize("content", ["not json", "[1, 2]", '{"model": '])
def test_a_damaged_file_is_one_sentence(tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "broken.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InvalidRequest, match="line 1"):
        read_logs(path, CATALOG)
    assert main([str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="cannot be read"):
        read_logs(tmp_path / "absent.jsonl", CATALOG)


def as_predicted(log: StartupLog, term: str) -> float | None:
    """GiB of a term by the shipped constants, through the ledger that estimates use."""
    try:
        terms = memory_terms(log.model, log.quantization, log.layout, log.engine, log.gpu)
    except LayoutRefused:
        return None
    tokens, sequences = log.flags.max_num_batched_tokens, log.flags.max_num_seqs
    found = terms.activation_bytes(tokens, sequences) if term == "activation_peak_gib" else None
    value = found[0] if found is not None else terms.graph_bytes(tokens, sequences)
    return value / 2**30


@pytest.mark.parametrize(("term", "fitted"), [("activation_peak_gib", fit_activation), ("cudagraph_gib", fit_graphs)])
def test_a_fit_of_what_the_shipped_constants_predict_finds_them_again(
    logs: tuple[StartupLog, ...], term: str, fitted: Callable[..., StartupMemory]
) -> None:
    made = []
    for log in [log for log in logs if log.measured.get(term) and log.gpu.vendor == "nvidia"][::2]:
        value = as_predicted(log, term)
        if value:
            made.append(replace(log, measured={term: value}))
    assert len(made) > 25
    memory = fitted(made, load_startup_memory())
    again = []
    for log in made:
        engine = with_startup(log.engine, memory.of(log.engine.engine, log.engine.version))
        predicted = as_predicted(replace(log, engine=engine), term)
        assert predicted is not None
        again.append(predicted / log.measured[term])
    assert sorted(again)[len(again) // 2] == pytest.approx(1.0, abs=0.02)
    assert sum(abs(ratio - 1) < 0.1 for ratio in again) > 0.8 * len(again)
