"""Drafts against vLLM 0.33.0's own construction and planning, and what a config may not say."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import vllm_opt.profiles
from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.kv.kv_plan import plan_kv_cache
from vllm_opt.constraints.weights.parameter_bytes import draft_bytes
from vllm_opt.optimizer.contract.features import Features
from vllm_opt.optimizer.contract.request import EstimateRequest, SolveRequest
from vllm_opt.optimizer.estimation.estimate import estimate
from vllm_opt.optimizer.estimation.speculation import speculation_of
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.configs.huggingface import model_from_config
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.nouns.model import ModelProfile

DATA = Path(__file__).parents[2] / "data"
MODELS = Path(vllm_opt.profiles.__path__[0]) / "data" / "models"
CATALOG = Catalog()
ENGINE, _ = CATALOG.engine("0.33")
H100 = CATALOG.gpu("h100-sxm")
ROWS = [json.loads(line) for line in (DATA / "vllm_0_33_drafts.jsonl").read_text().splitlines()]
DRAFTS = json.loads((DATA / "draft_configs.json").read_text())


@cache
def _model(name: str) -> ModelProfile:
    if "--" in name:
        config = json.loads((MODELS / f"{name}.json").read_text())["config"]
    else:
        config = json.loads((DATA / "vllm_reference_configs" / f"{name}.json").read_text())
    return model_from_config(config, name)


class ReferenceModels(Catalog):
    """A catalogue whose draft models are the reference configs."""

    def model(self, name: str) -> ModelProfile:
        return _model(name)


def _layout(row: dict[str, Any], folder: Path) -> tuple[ModelProfile, Layout]:
    model = _model(row["config"])
    config = dict(row["speculative_config"] or {})
    if config.get("model") in DRAFTS:
        path = folder / "config.json"
        path.write_text(json.dumps(DRAFTS[config["model"]]))
        config["model"] = str(path)
    request = EstimateRequest(speculative_config=config) if config else EstimateRequest()
    speculation, notes = speculation_of(request, model, ReferenceModels())
    assert notes == ()
    native = model.native_quantization
    layout = Layout(
        gpu="h100-sxm",
        tensor_parallel_size=row["tensor_parallel_size"],
        pipeline_parallel_size=row["pipeline_parallel_size"],
        quantization=native.quantization if native else "bf16",
        kv_cache_dtype=row["kv_cache_dtype"],
        speculation=speculation,
        nodes=-(-row["tensor_parallel_size"] * row["pipeline_parallel_size"] // 8),
    )
    return model, layout


def _id(row: dict[str, Any]) -> str:
    method = (row["speculative_config"] or {}).get("method", "none")
    return f"{row['id']}-{row['config']}-{method}"


@pytest.mark.parametrize("row", ROWS, ids=_id)
def test_draft_weights_equal_vllm(row: dict[str, Any], tmp_path: Path) -> None:
    model, layout = _layout(row, tmp_path)
    assert list(draft_bytes(model, CATALOG.quantization(layout.quantization), layout, H100)) == row["draft_bytes"]


@pytest.mark.parametrize("row", ROWS, ids=_id)
def test_the_plan_with_drafts_equals_vllm(row: dict[str, Any], tmp_path: Path) -> None:
    model, layout = _layout(row, tmp_path)
    plan = plan_kv_cache(model, layout, ENGINE, H100)
    tokens, length = row["max_num_batched_tokens"], row["max_model_len"]
    blocks = plan.num_gpu_blocks(int(row["available_gib"] * 2**30))
    in_flight = plan.in_flight_tokens(tokens)
    groups = [[group.num_layers, group.layer.pages_per_request(length, in_flight, 1)] for group in plan.groups]
    assert plan.block_size == row["block_size"]
    assert list(plan.block_bytes) == row["bytes_per_block"]
    assert blocks == row["num_gpu_blocks"]
    assert sorted(groups) == row["groups"]
    assert plan.max_concurrency(blocks, length, tokens) == row["max_concurrency"]
    assert plan.step.lookahead_tokens == row["lookahead"]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"method": "medusa", "num_speculative_tokens": 3}, "method 'medusa' is not one of"),
        ({}, None),
        ({"num_speculative_tokens": 3}, "give a method"),
        ({"method": "eagle3", "model": "x"}, "num_speculative_tokens is missing"),
        ({"method": "ngram", "num_speculative_tokens": 0}, "a whole number from 1"),
        ({"method": "ngram", "num_speculative_tokens": True}, "a whole number from 1"),
        ({"method": "ngram", "num_speculative_tokens": 1e9}, "a whole number from 1"),
        ({"method": "mtp", "num_speculative_tokens": 1}, "no multi-token prediction module"),
        ({"method": "dflash", "model": "z-lab/x", "num_speculative_tokens": 15}, "path of its config.json"),
        ({"method": "dflash", "model": "Z-Lab/Qwen3.6-35B-A3B-DFlash", "num_speculative_tokens": 6}, "2048 wide"),
        ({"method": "dflash", "model": "yuhuili/EAGLE3-LLaMA3.1-Instruct-8B", "num_speculative_tokens": 3}, "eagle3"),
        ({"method": "draft_model", "num_speculative_tokens": 4}, "needs a model"),
        ({"method": "eagle3", "model": 7, "num_speculative_tokens": 4}, "must be text"),
        (
            {"method": "draft_model", "model": "Qwen/Qwen2.5-1.5B-Instruct", "num_speculative_tokens": 4},
            "same vocabulary size",
        ),
    ],
)
def test_what_cannot_be_drafted_is_one_sentence(config: dict[str, Any], words: str | None) -> None:
    request = EstimateRequest(speculative_config=config)
    model = CATALOG.model("meta-llama/Llama-3.1-8B-Instruct")
    if words is None:
        assert speculation_of(request, model, CATALOG) == (None, ())
        return
    with pytest.raises(InvalidRequest, match="speculative_config") as caught:
        speculation_of(request, model, CATALOG)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("method", "ranks", "drafter", "words"),
    [
        ("eagle3", 4, 4, None), ("eagle3", 4, 1, None), ("eagle3", 4, 2, "cannot be other than 1 or tensor"),
        ("draft_model", 4, 4, None), ("draft_model", 4, 1, "cannot be other than tensor"),
        ("eagle3", 4, 0, "1 or more"), ("eagle3", 4, "2", "1 or more"), ("eagle3", None, 1, None),
        ("eagle3", None, 2, "follows the layout"),
    ],
)  # fmt: skip
def test_a_drafter_has_the_ranks_of_its_target(method: str, ranks: int | None, drafter: Any, words: str | None) -> None:
    drafts = "meta-llama/Llama-3.2-1B-Instruct" if method == "draft_model" else "yuhuili/EAGLE3-LLaMA3.1-Instruct-8B"
    config = {
        "method": method, "model": drafts, "num_speculative_tokens": 3, "draft_tensor_parallel_size": drafter,
    }  # fmt: skip
    request: Features = (
        SolveRequest(model="x", gpu=("h100",), speculative_config=config)
        if ranks is None
        else EstimateRequest(speculative_config=config, tensor_parallel_size=ranks)
    )
    model = CATALOG.model("meta-llama/Llama-3.1-8B-Instruct")
    if words is None:
        assert speculation_of(request, model, CATALOG)[0] is not None
        return
    with pytest.raises(InvalidRequest, match="draft_tensor_parallel_size") as caught:
        speculation_of(request, model, CATALOG)
    assert words in str(caught.value)


@pytest.mark.parametrize("content", ["not json", "[1]", '{"hidden_size": -1, "num_attention_heads": 4}', "{}"])
def test_a_damaged_draft_config_is_one_sentence(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    config = {"method": "eagle3", "model": str(tmp_path), "num_speculative_tokens": 3}
    with pytest.raises(InvalidRequest, match="speculative_config"):
        speculation_of(
            EstimateRequest(speculative_config=config), CATALOG.model("meta-llama/Llama-3.1-8B-Instruct"), CATALOG
        )


def test_an_eagle_draft_without_its_config_takes_the_targets_shape_and_says_so() -> None:
    config = {"method": "eagle3", "model": "lmsys/sglang-EAGLE3-LLaMA3.1-Instruct-8B", "num_speculative_tokens": 3}
    model = CATALOG.model("meta-llama/Llama-3.1-8B-Instruct")
    found, notes = speculation_of(EstimateRequest(speculative_config=config), model, CATALOG)
    layout = Layout(gpu="h100-sxm", speculation=found)
    assert draft_bytes(model, CATALOG.quantization("bf16"), layout, H100) == (849_635_328,)
    assert len(notes) == 1


def test_a_published_drafter_is_known_by_its_id_to_the_block() -> None:
    """vLLM 0.22.0 on a GB10: attention blocks of 1,104 tokens, 7.35x in 71.59 GiB (a log with compose file)."""
    drafter = {"method": "dflash", "model": "z-lab/Qwen3.6-35B-A3B-DFlash", "num_speculative_tokens": 6}
    found = estimate(
        EstimateRequest(
            model="nvidia/Qwen3.6-35B-A3B-NVFP4", gpu="gb10", vllm_version="0.22.0", max_model_len=200_000,
            max_num_batched_tokens=32_768, max_num_seqs=8, enable_prefix_caching=True, speculative_config=drafter,
            kv_cache_memory_bytes=int(71.59 * 2**30),
        )
    )  # fmt: skip
    assert (found.memory.block_size, round(found.memory.max_concurrency, 2)) == (1_104, 7.35)
    assert not any("drafter's config" in note for note in found.notes)


def test_a_known_head_equals_its_own_config(tmp_path: Path) -> None:
    own = tmp_path / "config.json"
    own.write_text(json.dumps(DRAFTS["draft-eagle3-llama-3.1-8b"]), encoding="utf-8")
    model = CATALOG.model("meta-llama/Llama-3.1-8B-Instruct")
    shapes = []
    for name in ("yuhuili/EAGLE3-LLaMA3.1-Instruct-8B", str(own)):
        config = {"method": "eagle3", "model": name, "num_speculative_tokens": 3}
        speculation, notes = speculation_of(EstimateRequest(speculative_config=config), model, CATALOG)
        assert speculation is not None
        assert notes == ()
        shapes.append(speculation.shape)
    assert shapes[0] == shapes[1]
