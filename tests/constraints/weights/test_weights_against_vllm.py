"""Weight bytes against the parameters that vLLM 0.33.0 itself builds (its model classes on meta tensors, per rank).

`vllm_0_33_planning.jsonl` are vLLM's planning results; `vllm_0_33_weights.jsonl` the parameter bytes of every stage for
more models, layouts and formats. Left out of the latter, because the catalogue knows better than the bare config.json
that vLLM was given: configs without their vision, audio or quantisation part.
"""

import json
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.weights.parameter_bytes import WeightTable
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.configs.huggingface import model_from_config
from vllm_opt.profiles.nouns.model import ModelProfile

DATA = Path(__file__).parents[2] / "data"
SKUS = {"H100": "h100-sxm", "A100": "a100-sxm-80gb", "B200": "b200", "L40S": "l40s", "T4": "t4"}
NEARLY = {"Qwen3NextForCausalLM", "Qwen3_5MoeForConditionalGeneration"}
"""Classes whose per-tensor scales vLLM counts for other row groups in some formats: a few bytes per layer."""


def _lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text().splitlines()]


@cache
def _model(name: str, quantization: str) -> ModelProfile:
    if not name.startswith("reference/"):
        return Catalog().model(name)
    stem = name.removeprefix("reference/")
    config = json.loads((DATA / "vllm_reference_configs" / f"{stem}.json").read_text())
    if quantization != "native":
        config.pop("quantization_config", None)
        config["quantization_config"] = json.loads((DATA / "quantization_configs.json").read_text())[quantization]
    return model_from_config(config, name)


@cache
def _table(name: str, quantization: str) -> WeightTable:
    model = _model(name, quantization)
    native = model.native_quantization
    return WeightTable(model, Catalog().quantization(native.quantization if native else "bf16"))


def _layout(table: WeightTable, gpu: str, tensor: int, pipeline: int, expert_parallel: bool) -> Layout:
    return Layout(
        gpu=SKUS[gpu],
        tensor_parallel_size=tensor,
        pipeline_parallel_size=pipeline,
        expert_parallel=expert_parallel,
        quantization=table.quantization.id,
    )


PLANNED = [
    row for row in _lines("vllm_0_33_planning.jsonl") if row.get("outputs", {}).get("weight_bytes_rank_max") is not None
]


@pytest.mark.parametrize("row", PLANNED, ids=lambda row: row["id"])
def test_planning_rows_have_the_same_bytes_on_the_fullest_rank(row: dict[str, Any]) -> None:
    inputs = row["inputs"]
    table = _table("reference/" + inputs["config"].removesuffix(".json"), inputs["quant"])
    layout = _layout(table, inputs["gpu"], inputs["tp"], inputs["pp"], inputs["expert_parallel"])
    assert max(table.parameter_bytes(layout)) == row["outputs"]["weight_bytes_rank_max"]


BY_MODEL: dict[str, list[dict[str, Any]]] = defaultdict(list)
for _row in _lines("vllm_0_33_weights.jsonl"):
    BY_MODEL[_row["model"]].append(_row)


@pytest.mark.parametrize("name", sorted(BY_MODEL))
def test_every_stage_has_the_bytes_that_vllm_allocates(name: str) -> None:
    for row in BY_MODEL[name]:
        table = _table(name, row["quantization"])
        layout = _layout(table, row["gpu"], row["tp"], row["pp"], row["expert_parallel"])
        ours = table.parameter_bytes(layout)
        if table.model.architecture in NEARLY:
            assert ours == pytest.approx(tuple(row["param_bytes"]), rel=1e-6), row
        else:
            assert ours == tuple(row["param_bytes"]), row


def test_the_tables_cover_what_they_are_for() -> None:
    assert len(PLANNED) >= 85
    assert len(BY_MODEL) >= 100
    assert sum(len(rows) for rows in BY_MODEL.values()) >= 1400
