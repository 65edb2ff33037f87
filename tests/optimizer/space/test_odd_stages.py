"""Pipelines over an uneven part of a node take part only where someone says how many GPUs or stages there are."""

from typing import Any

import pytest

from vllm_opt.optimizer import SolveRequest, solve
from vllm_opt.optimizer.procurement.request import Inventory
from vllm_opt.optimizer.space.layouts import odd_stages, shapes
from vllm_opt.optimizer.space.setting import resolve_solve
from vllm_opt.profiles.catalogues.catalog import Catalog

LLAMA_70B = {"model": "meta-llama/Llama-3.1-70B-Instruct", "gpu": ("rtx-3090",), "default_limits": False}


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog()


def ranks(catalog: Catalog, **asked: Any) -> set[int]:
    """GPUs of the servers with pipeline stages that are considered on nodes of eight."""
    setting = resolve_solve(SolveRequest(**{**LLAMA_70B, **asked}), catalog)
    most = setting.targets.gpus or setting.targets.max_gpus
    return {shape.tensor * shape.pipeline for shape in shapes(setting, 8, most) if shape.pipeline > 1}


@pytest.mark.parametrize(
    ("tensor", "pipeline", "node", "odd"),
    [(1, 3, 8, True), (2, 3, 8, True), (1, 3, 6, False), (2, 4, 8, False), (3, 1, 8, False), (8, 3, 8, False)],
)
def test_what_an_uneven_part_of_a_node_is(tensor: int, pipeline: int, node: int, odd: bool) -> None:
    assert odd_stages(tensor, pipeline, node) == odd


def test_not_tried_where_any_number_of_gpus_may_be_had(catalog: Catalog) -> None:
    assert ranks(catalog) == {2, 4, 8}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"gpus": 3}, {2, 3}),
        ({"max_gpus": 6}, {2, 3, 4, 5, 6}),
        ({"owned": {"rtx-3090": 3}, "gpus": None}, {2, 3, 4, 5, 6, 7, 8}),
        ({"pipeline_parallel_size": 3}, {3, 6}),
        ({"max_gpus": None}, {2, 4, 8}),
    ],
)
def test_tried_where_the_request_counts(catalog: Catalog, asked: dict[str, Any], expected: set[int]) -> None:
    assert ranks(catalog, **asked) == expected


def test_three_cards_at_hand_are_one_pipeline(catalog: Catalog) -> None:
    """Three cards of 24 GiB hold about 40 GB of 4-bit weights in three stages, and heads do not divide by three."""
    asked = SolveRequest(**LLAMA_70B, target_context=4096, concurrency=1, gpus=3)
    answer = solve(asked, catalog)
    assert answer.plan is not None
    assert (answer.plan.tensor_parallel_size, answer.plan.pipeline_parallel_size) == (1, 3)


def test_the_ceiling_that_an_explanation_names_is_the_least_when_asked(catalog: Catalog) -> None:
    """One more GPU at most suffices as said, and one fewer does not, uneven pipelines included."""
    asked = SolveRequest(**LLAMA_70B, target_context=4096, concurrency=1, max_gpus=1, quantization=("fp8",))
    answer = solve(asked, catalog)
    assert answer.plan is None
    assert answer.explanation is not None
    (least,) = [item.to for item in answer.explanation.relaxations if item.change == "max_gpus"]
    assert solve(asked.replaced(max_gpus=least), catalog).plan is not None
    assert solve(asked.replaced(max_gpus=least - 1), catalog).plan is None


@pytest.mark.parametrize(
    ("stated", "counted"),
    [({}, None), ({"gpu": ["h100-sxm"]}, None), ({"max_gpus_per_replica": 8}, 8), ({"gpus_per_node": {"a40": 6}}, 8)],
)
def test_an_inventory_counts_gpus_only_where_it_states_them(stated: dict[str, Any], counted: int | None) -> None:
    assert Inventory(**stated).counted_gpus == counted
