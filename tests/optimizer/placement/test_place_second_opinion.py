"""The second opinion of a placement: what a GPU holds is added up, and a server that stands nowhere is seen."""

from typing import Any

import pytest

from vllm_opt.optimizer.placement.answer import PlacementAnswer
from vllm_opt.optimizer.placement.place import place
from vllm_opt.optimizer.placement.request import PlaceRequest
from vllm_opt.optimizer.placement.second_opinion import with_opinion
from vllm_opt.profiles.catalogues.catalog import Catalog

CATALOG = Catalog()
SITE: dict[str, Any] = {
    "nodes": [{"name": "a", "gpu": "l4", "gpus": 2}],
    "services": [{"name": "chat", "model": "Qwen/Qwen3-4B", "concurrency": 4, "target_context": 4096}],
}


@pytest.fixture(scope="module")
def answer() -> PlacementAnswer:
    return place(PlaceRequest(**SITE, second_opinion=True, time_limit=20), CATALOG)


def test_a_site_is_counted_again(answer: PlacementAnswer) -> None:
    assert answer.second_opinion is not None
    assert answer.second_opinion.disagreements == ()
    assert answer.second_opinion.plans[-1].plan == "the site"


def test_a_gpu_that_holds_more_than_it_has_is_seen(answer: PlacementAnswer) -> None:
    (node,) = answer.nodes
    full = node.gpus[0].model_copy(update={"memory_bytes": 1})
    changed = answer.model_copy(update={"nodes": (node.model_copy(update={"gpus": (full, *node.gpus[1:])}),)})
    found = with_opinion(changed, CATALOG)
    assert any("bytes on a GPU 0" in note for note in found.notes) or not full.servers


def test_a_server_that_stands_nowhere_is_seen(answer: PlacementAnswer) -> None:
    (node,) = answer.nodes
    empty = tuple(gpu.model_copy(update={"servers": ()}) for gpu in node.gpus)
    found = with_opinion(answer.model_copy(update={"nodes": (node.model_copy(update={"gpus": empty}),)}), CATALOG)
    assert any("GPUs of chat/" in note for note in found.notes)
