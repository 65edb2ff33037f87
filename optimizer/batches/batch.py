"""`batch`: recommended configurations for many models, SKUs and workloads, kept in a folder."""

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from typing import Any

from pydantic import Field

from vllm_opt.optimizer.batches.cells import Cell, chosen_workloads, plan_cells
from vllm_opt.optimizer.batches.folder import BatchFolder
from vllm_opt.optimizer.batches.output import write_config, write_index
from vllm_opt.optimizer.batches.progress import CellProgress, ProgressBar
from vllm_opt.optimizer.batches.request import BatchRequest
from vllm_opt.optimizer.batches.rows import CellStatus, IndexRow, result_of
from vllm_opt.optimizer.batches.tasks import Backend, tasks_of
from vllm_opt.optimizer.contract.answer import Plan, Report
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.noun import Noun
from vllm_opt.profiles.nouns.workload_preset import WorkloadPreset
from vllm_opt.profiles.reading.quantities import counted


class FailedCell(Noun):
    """A cell that could not be answered, and why."""

    cell: str
    reason: str


class BatchReport(Report):
    """What a run did. `reused`: cells that `resume` found finished."""

    schema_name: str = Field("vllm-opt/batch/1", alias="schema")
    output: str
    cells: int
    reused: int
    counts: dict[CellStatus, int]
    failed: tuple[FailedCell, ...] = ()


class BatchInterrupted(KeyboardInterrupt):
    """Ctrl-C: what is finished is in the folder and in the index."""

    def __init__(self, finished: int, cells: int, output: str) -> None:
        super().__init__(
            f"{finished:,} of {counted(cells, 'cell')} are finished in '{output}'; --resume goes on from there"
        )


def batch(
    request: BatchRequest, catalog: Catalog | None = None, *, on_plan: Callable[[str, Plan], None] | None = None
) -> BatchReport:
    """Answer every cell of the request and write the folder; `on_plan` gets each cell's path and its plan.

    A cell that fails is reported and never stops the others. An interruption keeps what is finished and is raised
    again.

    Raises:
        InvalidRequest: the request cannot be understood or the folder not be written.
        UnknownProfile: a name that the catalogue does not hold.
        BatchInterrupted: a KeyboardInterrupt came.
    """
    catalog = catalog or Catalog(gpu_file=request.gpu_file, prices_file=request.prices)
    cells = plan_cells(request, catalog)
    backend = backend_of(request)
    folder = BatchFolder(request.output)
    with folder.held():
        run = _Run(folder, cells, chosen_workloads(request), on_plan)
        reused = run.answer_at_once(resume=request.resume)
        try:
            with ProgressBar(len(cells), finished=len(run.rows)) as progress:
                run.solve_rest(backend, progress)
        except KeyboardInterrupt:
            run.take_what_was_being_kept()
            write_index(folder, list(run.rows.values()), run.workloads, complete=False)
            raise BatchInterrupted(len(run.rows), len(cells), request.output) from None
        return run.finish(request.output, reused)


def backend_of(request: BatchRequest) -> Backend:
    """The place where the cells are solved."""
    if request.backend == "ray":
        from vllm_opt.optimizer.batches.backend_ray import RayBackend

        return RayBackend(request.jobs, request.address)
    from vllm_opt.optimizer.batches.backend_local import LocalBackend

    return LocalBackend(request.jobs)


class _Run:
    """The state of one run."""

    def __init__(
        self, folder: BatchFolder, cells: tuple[Cell, ...], workloads: tuple[WorkloadPreset, ...],
        on_plan: Callable[[str, Plan], None] | None,
    ) -> None:  # fmt: skip
        self.folder = folder
        self.cells = cells
        self.workloads = workloads
        self.on_plan = on_plan
        self.rows: dict[str, IndexRow] = {}
        self._in_hand: Cell | None = None

    def answer_at_once(self, *, resume: bool) -> int:
        """Answer the cells that need no solver, and with `resume` those that are stored; return how many of these."""
        reused = 0
        for cell in self.cells:
            if cell.refusal is not None:
                status, reason = cell.refusal
                self._take(cell, {"status": status, "reason": reason})
            elif resume and (record := self.folder.record_of(cell)) is not None:
                reused += self._take(cell, record)
        return reused

    def solve_rest(self, backend: Backend, progress: CellProgress) -> None:
        """Let the backend answer what is left; every cell is on disk as soon as its task is finished."""
        left = [cell for cell in self.cells if cell.path not in self.rows]
        with closing(backend.run(tasks_of(left))) as finished:
            for task, records in finished:
                for cell, record in zip(task.cells, records, strict=True):
                    self._in_hand = cell
                    self.folder.keep(cell, record)
                    self._take(cell, record)
                progress.advance(len(task.cells))

    def take_what_was_being_kept(self) -> None:
        """An interruption may come between a cell's record and its row: what is on disk is finished."""
        cell = self._in_hand
        if cell is not None and cell.path not in self.rows and (record := self.folder.record_of(cell)) is not None:
            self._take(cell, record)

    def _take(self, cell: Cell, record: dict[str, Any]) -> bool:
        """Write the configuration of an answered cell; a stored record that no longer reads is not taken."""
        try:
            result = result_of(cell, record)
        except ValueError:
            return False
        write_config(self.folder, cell, result)
        if self.on_plan is not None and result.plan is not None:
            self.on_plan(cell.path, result.plan)
        self.rows[cell.path] = result.row
        return True

    def finish(self, output: str, reused: int) -> BatchReport:
        """Write the index, tidy up, and count."""
        rows = list(self.rows.values())
        previous = self.folder.previous_index()
        write_index(self.folder, rows, self.workloads, complete=True)
        self.folder.remove_leftovers(self.cells, [row.file for row in rows if row.file], previous)
        counts: dict[CellStatus, int] = dict(sorted(Counter(row.status for row in rows).items()))
        failed = [row for row in rows if row.status == "failed"]
        return BatchReport(
            output=output,
            cells=len(rows),
            reused=reused,
            counts=counts,
            failed=tuple(FailedCell(cell=row.cell, reason=row.reason or "") for row in failed),
        )
