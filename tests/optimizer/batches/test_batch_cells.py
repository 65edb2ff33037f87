"""Which cells a batch consists of, what their hashes depend on, and where their files go."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vllm_opt.optimizer.batches.cells import Cell, chosen_models, plan_cells
from vllm_opt.optimizer.batches.request import BatchRequest
from vllm_opt.optimizer.batches.tasks import ATTEMPTS, Task, after_death, tasks_of
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest, UnknownProfile

SMALL = "Qwen/Qwen3-0.6B"


def cells(**asked: Any) -> tuple[Cell, ...]:
    asked = {"models": SMALL, "gpu": "l40s", "workload": "chat", **asked}
    request = BatchRequest(**asked)
    return plan_cells(request, Catalog(gpu_file=request.gpu_file, prices_file=request.prices))


def test_globs_match_whole_ids_and_names_without_the_organisation() -> None:
    catalog = Catalog()
    assert chosen_models(BatchRequest(models="openai/gpt*"), catalog) == ("openai/gpt-oss-120b", "openai/gpt-oss-20b")
    assert chosen_models(BatchRequest(models="GPT-OSS-??b"), catalog) == ("openai/gpt-oss-20b",)
    assert chosen_models(BatchRequest(), catalog) == tuple(sorted(catalog.model_ids))
    both = chosen_models(BatchRequest(models=["qwen/qwen3-0.6b", "Qwen/Qwen3-0.6?"]), catalog)
    assert both == (SMALL,)


@pytest.mark.parametrize("name", ["Qwent/*", "Qwen/Qwen3-9999B", "*/nothing"])
def test_a_name_that_leads_nowhere_is_refused(name: str) -> None:
    with pytest.raises(UnknownProfile):
        chosen_models(BatchRequest(models=name), Catalog())


def test_models_come_from_a_file_too(tmp_path: Path) -> None:
    file = tmp_path / "models"
    file.write_text(f"{SMALL}\nopenai/gpt-oss-2*\n", encoding="utf-8")
    found = chosen_models(BatchRequest(models_file=str(file), models="Qwen/Qwen3-8B"), Catalog())
    assert found == (SMALL, "Qwen/Qwen3-8B", "openai/gpt-oss-20b")


def test_the_cells_are_the_product_in_the_order_of_their_paths() -> None:
    found = cells(models=[SMALL, "Qwen/Qwen3-8B"], gpu=["l40s", "h100"], workload=["rag", "chat"])
    assert [cell.path for cell in found] == [
        f"configs/Qwen--Qwen3-{size}/{workload}/{gpu}.yaml"
        for size in ("0.6B", "8B")
        for workload in ("chat", "rag")
        for gpu in ("h100-sxm", "l40s")
    ]
    assert len({cell.key for cell in found}) == len(found)


def test_objective_and_release_are_part_of_the_path_only_when_there_are_several() -> None:
    assert [cell.path for cell in cells(objective="gpus", vllm_version="0.21")] == [
        "configs/Qwen--Qwen3-0.6B/chat/l40s.yaml"
    ]
    found = cells(objective=["gpus", "cost+latency"], vllm_version=["0.21", "0.33"])
    assert [cell.path.rsplit("/", 1)[1] for cell in found] == [
        "l40s.cost+latency.vllm-0.21.yaml",
        "l40s.cost+latency.vllm-0.33.yaml",
        "l40s.gpus.vllm-0.21.yaml",
        "l40s.gpus.vllm-0.33.yaml",
    ]


CHANGES: list[tuple[dict[str, Any], set[str]]] = [
    ({"price": {"l40s": 0.5}}, {"price"}),
    ({"vllm_version": "0.21"}, {"vllm"}),
    ({"workload": "rag"}, {"workload"}),
    ({"gpu": "l4"}, {"gpu", "price"}),
    ({"objective": "gpus"}, {"workload"}),
    ({"models": "Qwen/Qwen3-1.7B"}, {"model"}),
    ({"max_gpus": 2}, {"options"}),
    ({"output": "elsewhere", "jobs": 7, "resume": True}, set()),
]


@pytest.mark.parametrize(("change", "causes"), CHANGES, ids=[str(change) for change, _ in CHANGES])
def test_a_hash_changes_with_what_the_answer_depends_on_and_nothing_else(
    change: dict[str, Any], causes: set[str]
) -> None:
    (before,), (after,) = cells(), cells(**change)
    differ = {cause for cause in before.inputs if before.inputs[cause] != after.inputs[cause]}
    assert differ == causes
    assert (before.key == after.key) == (not causes)


def test_the_data_of_a_user_counts(tmp_path: Path) -> None:
    gpus = tmp_path / "gpus.yaml"
    gpus.write_text("gpus:\n  - {id: l40s, memory_gib: 47}\n", encoding="utf-8")
    (before,), (after,) = cells(), cells(gpu_file=str(gpus))
    assert before.inputs["gpu"] != after.inputs["gpu"]


def test_a_workload_is_clipped_to_the_model_and_says_so() -> None:
    (cell,) = cells(workload="long-context")
    assert cell.request is not None
    assert cell.request["target_context"] == 40_960
    assert cell.notes == (
        "the workload asks for a context of 131,072 tokens, the model allows 40,960: that is what is planned for",
    )


def test_a_request_longer_than_the_model_allows_is_infeasible_at_once() -> None:
    (cell,) = cells(workload="agentic")
    assert cell.request is None
    assert cell.refusal == (
        "infeasible", "context_length: the typical agentic request has 68,849 tokens, the model allows 40,960"
    )  # fmt: skip


def test_a_model_without_a_rule_is_a_cell_that_says_so() -> None:
    (cell,) = cells(models="meta-llama/Llama-3.2-11B-Vision")
    assert cell.request is None
    assert cell.refusal is not None
    assert cell.refusal[0] == "unsupported"
    assert "cannot be sized" in cell.refusal[1]


def test_models_of_a_path_get_a_folder_that_every_file_system_takes(copied_model: Callable[[str], Path]) -> None:
    odd, other = copied_model("my model (v2): <b>"), copied_model("my model (v2)? <b>")
    found = cells(models=[str(odd), str(other)])
    folders = [cell.path.split("/")[1] for cell in found]
    assert len({folder.lower() for folder in folders}) == 2
    assert all(character.isalnum() or character in "._-" for folder in folders for character in folder)


def test_a_sku_of_the_user_cannot_leave_the_folder(tmp_path: Path) -> None:
    gpus = tmp_path / "gpus.yaml"
    gpus.write_text("gpus:\n  - {id: ../../x, name: ours, base: l40s}\n  - {id: ..-..-x, name: too, base: l40s}\n")
    found = cells(gpu_file=str(gpus), gpu=["../../x", "..-..-x"], price={"../../x": 1, "..-..-x": 1})
    names = [cell.path.split("/")[3] for cell in found]
    assert len({name.lower() for name in names}) == 2
    assert all(not name.startswith(".") and "/" not in name for name in names)


def test_too_many_cells_are_refused() -> None:
    workloads = [
        {"id": f"w{number}", "input_tokens": 1, "output_tokens": 1, "target_context": 10, "concurrency": 1}
        for number in range(6000)
    ]
    with pytest.raises(InvalidRequest, match="more than 1,000,000"):
        cells(models="*", workload=workloads)


def test_two_workloads_of_one_name_are_refused() -> None:
    own = {"id": "chat", "input_tokens": 1, "output_tokens": 1, "target_context": 10, "concurrency": 1}
    with pytest.raises(InvalidRequest, match="two workloads are called 'chat'"):
        cells(workload=["chat", own])


def test_tasks_hold_cells_of_one_model_and_sku() -> None:
    asked = cells(models=[SMALL, "Qwen/Qwen3-8B"], gpu=["l40s", "l4"], workload=["chat", "rag", "code"])
    tasks = tasks_of(asked)
    assert [len(task.cells) for task in tasks] == [3, 3, 3, 3]
    assert all(len({(cell.model, cell.gpu) for cell in task.cells}) == 1 for task in tasks)
    assert sorted(cell.path for task in tasks for cell in task.cells) == [cell.path for cell in asked]


def test_a_task_whose_worker_dies_is_tried_again_cell_by_cell_and_then_given_up() -> None:
    task = Task(cells(workload=["chat", "rag"]))
    again, failed = after_death(task, "signal 9")
    assert failed is None
    assert [len(retry.cells) for retry in again] == [1, 1]
    for _ in range(ATTEMPTS - 2):
        again, failed = after_death(again[0], "signal 9")
        assert failed is None
    again, failed = after_death(again[0], "signal 9")
    assert again == []
    assert failed is not None
    assert failed[1] == [
        {"status": "failed", "reason": "the worker died 3 times while solving this cell (signal 9)"}
    ]  # fmt: skip


@pytest.fixture
def copied_model(tmp_path: Path) -> Callable[[str], Path]:
    """A model folder of a given name."""
    config = Path(__file__).parents[2] / "data" / "vllm_reference_configs" / "llama-3.1-8b.json"

    def copy(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_bytes(config.read_bytes())
        return folder

    return copy
