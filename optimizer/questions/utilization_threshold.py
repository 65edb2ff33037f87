"""The lowest ceiling of gpu_memory_utilization that makes a request feasible."""

from vllm_opt.optimizer.questions.points import is_feasible
from vllm_opt.optimizer.questions.questions import Atlas, Question
from vllm_opt.optimizer.questions.thresholds import changed, nearest

STEPS = 200
"""Ceilings are tried in steps of 1 / 200."""


def lowest_utilization(atlas: Atlas, question: Question) -> float | None:
    """The smallest ceiling above the one asked; None when even 1.0 does not help."""

    def ask(step: int) -> Question:
        return changed(question, max_gpu_memory_utilization=step / STEPS)

    asked = int(question.setting.request.max_gpu_memory_utilization * STEPS + 1e-9)
    if asked >= STEPS or not is_feasible(atlas, ask(STEPS)):
        return None
    return nearest(atlas, ask, STEPS, asked) / STEPS
