"""Tasks: the cells that one worker answers in one go, and what becomes of a task whose worker dies."""

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

from vllm_opt.optimizer.batches.cells import Cell

MOST_CELLS_PER_TASK = 12
ATTEMPTS = 3
"""How often one cell may be tried before the death of its workers counts as its own fault."""

Record = dict[str, Any]
Finished = tuple["Task", list[Record]]


@dataclass(frozen=True)
class Task:
    """Some cells of one model on one SKU."""

    cells: tuple[Cell, ...]
    attempts: int = 0

    @property
    def requests(self) -> list[dict[str, Any]]:
        """What the worker is asked."""
        return [cell.request for cell in self.cells if cell.request is not None]


class Backend(Protocol):
    """Where tasks run."""

    def run(self, tasks: Iterable[Task]) -> Generator[Finished, None, None]:
        """Yield every task with its records, in the order in which they finish; closing the iterator stops the work."""
        ...


def tasks_of(cells: Iterable[Cell]) -> list[Task]:
    """Group cells so that one worker reads a model and a SKU once; costly ones are not kept for the end."""
    ordered = sorted(cells, key=lambda cell: (cell.model, cell.gpu, cell.path))
    tasks = []
    for _, group in groupby(ordered, key=lambda cell: (cell.model, cell.gpu)):
        members = list(group)
        tasks += [
            Task(tuple(members[start : start + MOST_CELLS_PER_TASK]))
            for start in range(0, len(members), MOST_CELLS_PER_TASK)
        ]
    return tasks


def after_death(task: Task, reason: str) -> tuple[list[Task], Finished | None]:
    """What to do with a task whose worker died: try again, each cell alone, until one cell has had its attempts."""
    if task.attempts + 1 < ATTEMPTS:
        return [Task((cell,), task.attempts + 1) for cell in task.cells], None
    words = f"the worker died {ATTEMPTS} times while solving this cell ({reason})"
    return [], (task, [{"status": "failed", "reason": words} for _ in task.cells])
