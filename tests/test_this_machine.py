"""`--gpu local` with a stand-in for the NVML library: two RTX 4090, idle or in use, or cards of several kinds."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from vllm_opt.optimizer.contract.request import EstimateRequest, SolveRequest
from vllm_opt.optimizer.estimation.estimate import estimate
from vllm_opt.optimizer.solver.solve import solve
from vllm_opt.profiles.catalogues.catalog import Catalog

GIB = 1 << 30
RESERVED = 400 << 20


class NVMLError(Exception):
    """What the library raises."""


def library(*cards: tuple[str, int, int], tells_reserved: bool = True) -> ModuleType:
    """A module that answers as nvidia-ml-py does for these (name, total MiB, used bytes beside the driver's)."""
    module = ModuleType("pynvml")

    def memory(handle: int, version: int | None = None) -> SimpleNamespace:
        _, total, used = cards[handle]
        known = SimpleNamespace(total=total << 20, used=used + RESERVED, reserved=RESERVED)
        if version is None:
            del known.reserved
        return known

    module.NVMLError = NVMLError  # type: ignore[attr-defined]
    module.nvmlInit = module.nvmlShutdown = lambda: None  # type: ignore[attr-defined]
    module.nvmlDeviceGetCount = lambda: len(cards)  # type: ignore[attr-defined]
    module.nvmlDeviceGetHandleByIndex = lambda number: number  # type: ignore[attr-defined]
    module.nvmlDeviceGetName = lambda handle: cards[handle][0]  # type: ignore[attr-defined]
    module.nvmlDeviceGetMemoryInfo = memory  # type: ignore[attr-defined]
    if tells_reserved:
        module.nvmlMemory_v2 = 2  # type: ignore[attr-defined]
    return module


RTX_4090 = ("NVIDIA GeForce RTX 4090", 24564)
RTX_3090 = ("NVIDIA GeForce RTX 3090", 24576)


def machine(monkeypatch: pytest.MonkeyPatch, *cards: tuple[str, int, int], tells_reserved: bool = True) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", library(*cards, tells_reserved=tells_reserved))


def test_every_relaxation_is_possible_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, (*RTX_4090, 0), (*RTX_4090, 0))
    asked = SolveRequest(gpu="local", model="Qwen/Qwen3-32B", target_context=8192, concurrency=32)
    answer, named = solve(asked), solve(asked.replaced(gpu="rtx-4090", gpus=2))
    assert answer.status == named.status == "infeasible"
    assert answer.explanation is not None
    assert named.explanation is not None
    proposed = {item.change: item.to for item in answer.explanation.relaxations}
    assert proposed
    assert not {"gpu", "gpus", "max_gpus"} & set(proposed)
    usual = {item.change: item.to for item in named.explanation.relaxations}
    assert proposed == {change: to for change, to in usual.items() if change in proposed}
    for change, to in proposed.items():
        better = solve(asked.replaced(**{change: to}))
        assert better.status == "optimal", change
        assert better.plan is not None
        assert better.plan.gpu_count <= 2


@pytest.mark.parametrize("tells_reserved", [True, False])
def test_memory_in_use_is_left_alone_and_said(monkeypatch: pytest.MonkeyPatch, tells_reserved: bool) -> None:
    asked = SolveRequest(gpu="local", model="Qwen/Qwen3-8B", target_context=2048, concurrency=2)
    machine(monkeypatch, (*RTX_4090, 0))
    idle = solve(asked).plan
    machine(monkeypatch, (*RTX_4090, 3 * GIB), tells_reserved=tells_reserved)
    answer = solve(asked)
    assert idle is not None
    assert answer.plan is not None
    assert any("in use by other programs" in note for note in answer.notes)
    used = Catalog().local_gpus[0].memory_in_use_bytes
    assert used == 3 * GIB if tells_reserved else used < 3 * GIB
    budget, total = answer.plan.memory.budget_bytes, answer.plan.memory.gpu_total_bytes
    assert budget + used <= total
    assert answer.plan.memory.headroom_needed_bytes == idle.memory.headroom_needed_bytes + used
    judged = estimate(EstimateRequest(gpu="local", model="Qwen/Qwen3-8B", max_model_len=2048))
    assert any("in use by other programs" in note for note in judged.notes)
    assert any(violation.rule == "startup_headroom" for violation in judged.violations)


def test_an_idle_card_is_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, (*RTX_4090, 30 << 20))
    assert Catalog().local_gpus[0].memory_in_use_bytes == 0


@pytest.mark.parametrize(
    ("cards", "model", "tensor"),
    [
        (1, "Qwen/Qwen3-32B", 1),
        (2, "Qwen/Qwen3-32B", 2),
        (3, "Qwen/Qwen3-32B", 2),
        (4, "Qwen/Qwen2.5-0.5B-Instruct", 2),
    ],
)
def test_estimate_takes_the_machine(cards: int, model: str, tensor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, *[(*RTX_4090, 0)] * cards)
    answer = estimate(EstimateRequest(gpu="local", model=model, max_model_len=2048))
    assert answer.request["tensor_parallel_size"] == tensor
    assert any(f"TP {tensor}" in note for note in answer.notes) is (cards > 1)
    pinned = estimate(EstimateRequest(gpu="local", model=model, max_model_len=2048, tensor_parallel_size=1))
    assert pinned.request["tensor_parallel_size"] == 1


def test_cards_of_several_kinds_are_not_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, (*RTX_4090, 0), (*RTX_3090, 0))
    answer = solve(SolveRequest(gpu="local", model="Qwen/Qwen3-8B", concurrency=1, target_context=2048))
    assert answer.plan is not None
    assert answer.plan.gpu_count == 1
    machine(monkeypatch, (*RTX_4090, 0), (*RTX_3090, 0), (*RTX_3090, 0))
    answer = solve(SolveRequest(gpu="local", model="Qwen/Qwen3-8B", concurrency=1, target_context=2048))
    assert answer.plan is not None
    assert answer.plan.gpu == "rtx-3090"
    assert any("1 x rtx-4090 of this machine left out" in note for note in answer.notes)
