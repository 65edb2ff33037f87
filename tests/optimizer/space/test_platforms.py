"""Which SKUs and layouts of other platforms `solve` proposes."""

from vllm_opt import SolveRequest, solve
from vllm_opt.optimizer.space.setting import resolve_solve
from vllm_opt.profiles.catalogues.catalog import Catalog

MODEL = "deepseek-ai/DeepSeek-R1"


def test_a_plugin_that_follows_no_such_release_is_not_proposed() -> None:
    setting = resolve_solve(SolveRequest(model=MODEL), Catalog())
    assert not {"gaudi2", "gaudi3"} & {item.gpu.id for item in setting.gpus}
    assert any(note.startswith("left out: gaudi2") and "0.30.0" in note for note in setting.notes)
    older = resolve_solve(SolveRequest(model=MODEL, vllm_version="0.19.0"), Catalog())
    assert "gaudi2" in {item.gpu.id for item in older.gpus}


def test_a_card_that_is_named_is_planned_without_what_its_plugin_lacks() -> None:
    request = SolveRequest(model=MODEL, gpu=("gaudi2",), explain=False)
    answer = solve(request)
    assert answer.plan is not None
    assert answer.plan.decode_context_parallel_size == answer.plan.pipeline_parallel_size == 1
    assert answer.plan.kv_cache_dtype == "auto"
    assert any("follows vLLM 0.30.0" in note for note in answer.notes)


def test_pins_and_the_option_bring_back_what_is_not_documented() -> None:
    small = {"model": "Qwen/Qwen3-8B", "gpu": ("gaudi2",), "explain": False}
    pinned = solve(SolveRequest(**small, pipeline_parallel_size=2))
    assert pinned.plan is not None
    assert pinned.plan.pipeline_parallel_size == 2
    setting = resolve_solve(SolveRequest(model=MODEL, undocumented_layouts=True), Catalog())
    assert "gaudi2" in {item.gpu.id for item in setting.gpus}
