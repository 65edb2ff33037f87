"""Which SKUs and layouts of other platforms `solve` proposes."""

from vllm_opt import SolveRequest, solve
from vllm_opt.optimizer.space.layouts import Shape
from vllm_opt.optimizer.space.physics import LayoutPhysics
from vllm_opt.optimizer.space.setting import resolve_solve
from vllm_opt.profiles.catalogues.catalog import Catalog

MODEL = "deepseek-ai/DeepSeek-R1"


def _refused(sku: str, **fields: object) -> tuple[str, ...]:
    setting = resolve_solve(SolveRequest(model=MODEL, **fields), Catalog())
    gpu = next(item.gpu for item in setting.gpus if item.gpu.id == sku)
    shape = Shape(8, 1, 1, 1, False, "auto", True, True)
    return tuple(said.message for said in LayoutPhysics(setting).undocumented(gpu, setting.formats[0], shape))


def test_a_plugin_that_follows_no_such_release_is_not_proposed() -> None:
    (message,) = _refused("gaudi2")
    assert "follows vLLM 0.30.0, not 0.33" in message
    assert _refused("gaudi2", vllm_version="0.19.0") == _refused("gaudi2", gpu=("gaudi2",)) == ()
    assert _refused("h100-sxm") == _refused("mi300x") == _refused("gaudi2", undocumented_layouts=True) == ()
    setting = resolve_solve(SolveRequest(model=MODEL), Catalog())
    assert any(note.startswith("left out: gaudi2") for note in setting.notes)


def test_a_card_that_is_named_is_planned_without_what_its_plugin_lacks() -> None:
    request = SolveRequest(model=MODEL, gpu=("gaudi2",), explain=False)
    answer = solve(request)
    assert answer.plan is not None
    assert answer.plan.decode_context_parallel_size == answer.plan.pipeline_parallel_size == 1
    assert answer.plan.kv_cache_dtype == "auto"
    assert any("follows vLLM 0.30.0" in note for note in answer.notes)


def test_a_pin_brings_back_what_is_not_documented() -> None:
    request = SolveRequest(model="Qwen/Qwen3-8B", gpu=("gaudi2",), pipeline_parallel_size=2, explain=False)
    plan = solve(request).plan
    assert plan is not None
    assert plan.pipeline_parallel_size == 2
