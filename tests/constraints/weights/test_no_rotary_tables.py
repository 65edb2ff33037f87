"""Architectures without rotary positions allocate no table, and layers without latents no absorbed matrices."""

import pytest

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.weights.extras import WITHOUT_ROTARY, buffer_bytes
from vllm_opt.profiles.catalogues.catalog import Catalog

CATALOG = Catalog()
MODELS = [
    model_id for model_id in CATALOG.model_ids
    if any(name in model_id for name in ("Jamba", "Nemotron-H", "NVIDIA-Nemotron-Nano"))
]  # fmt: skip


def test_there_are_such_models() -> None:
    assert any(CATALOG.model(model_id).architecture in WITHOUT_ROTARY for model_id in MODELS)


@pytest.mark.parametrize("model_id", MODELS)
@pytest.mark.parametrize("stages", [1, 2])
def test_no_table_is_not_a_table_of_one_column(model_id: str, stages: int) -> None:
    model, gpu = CATALOG.model(model_id), CATALOG.gpu("h100")
    layout = Layout(gpu=gpu.id, pipeline_parallel_size=stages)
    found = buffer_bytes(model, CATALOG.quantization("bf16"), layout, gpu)
    if model.architecture in WITHOUT_ROTARY:
        assert found == (0,) * stages
    else:
        assert min(found) > 0
