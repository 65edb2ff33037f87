"""Solves cells, in whatever process a backend starts: JSON in, JSON out, so that every backend gives the same bytes.

As a program it answers one line of cells with one line of records until its standard input ends.
"""

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.nouns.model import ModelProfile

if TYPE_CHECKING:
    from vllm_opt.optimizer.contract.request import SolveRequest
    from vllm_opt.optimizer.space.shared import SharedLayouts

MODELS_KEPT = 8
"""Profiles kept at once; the cells of one model follow each other."""


class WorkerCatalog(Catalog):
    """A catalogue that also remembers the last models it read."""

    def model(self, name: str) -> ModelProfile:
        """Return a model, parsed once as long as it is asked for again soon."""
        kept: dict[str, ModelProfile] = self.__dict__.setdefault("_kept_models", {})
        if name not in kept:
            if len(kept) >= MODELS_KEPT:
                kept.pop(next(iter(kept)))
            kept[name] = super().model(name)
        return kept[name]


class BatchWorker:
    """Answers cells; one catalogue per pair of user files lives as long as the worker.

    Layouts and their coefficients are kept as long as one cell after the other asks for the same model, SKUs and
    release.
    """

    def __init__(self) -> None:
        self._kept: tuple[object, SharedLayouts | None] = None, None
        self._catalogs: dict[tuple[str | None, str | None], Catalog] = {}

    def answer(self, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return one record per request, in order; whatever goes wrong in one cell stays in its record."""
        return [self._answer_one(request) for request in requests]

    def process_id(self) -> int:
        """The process that this worker runs in."""
        return os.getpid()

    def _answer_one(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._solved(request)
        except Exception as error:
            return {"status": "failed", "reason": f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"}

    def _solved(self, fields: dict[str, Any]) -> dict[str, Any]:
        from vllm_opt.optimizer.contract.request import SolveRequest
        from vllm_opt.optimizer.solver.solve import solve

        request = SolveRequest(**fields)
        files = (request.gpu_file, request.prices)
        if files not in self._catalogs:
            self._catalogs[files] = WorkerCatalog(gpu_file=request.gpu_file, prices_file=request.prices)
        answer = solve(request, self._catalogs[files], shared=self._shared(request))
        record: dict[str, Any] = {"status": answer.status, "notes": list(answer.notes)}
        if answer.plan is not None:
            record["plan"] = answer.plan.model_dump(mode="json")
        elif answer.explanation is not None:
            record["reason"] = "; ".join(f"{part.rule}: {part.message}" for part in answer.explanation.conflict)
        else:
            record["reason"] = f"no plan was found within {request.time_limit:g} seconds"
        return record

    def _shared(self, request: "SolveRequest") -> "SharedLayouts":
        from vllm_opt.optimizer.space.shared import SharedLayouts

        about = (
            request.model, request.gpu, request.vllm_version, request.engine, request.calibration, request.gpu_file,
            request.calibration_file,
        )  # fmt: skip
        known, shared = self._kept
        if shared is None or known != about:
            shared = SharedLayouts()
            self._kept = about, shared
        return shared


def main() -> None:
    """Answer lines from standard input; whoever started this process reads its standard output."""
    worker, answers = BatchWorker(), sys.stdout
    sys.stdout = sys.stderr
    for line in sys.stdin:
        answers.write(json.dumps(worker.answer(json.loads(line)), allow_nan=False) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
