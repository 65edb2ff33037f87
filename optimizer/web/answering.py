"""From a request to its answer, and from an answer to the bytes of a format; runs in a worker process."""

import io
import zipfile
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest

if TYPE_CHECKING:
    from vllm_opt.optimizer.web.kept_layouts import KeptLayouts

MEDIA_TYPES = {
    "json": "application/json", "sarif": "application/sarif+json", "html": "text/html", "csv": "text/csv",
    "yaml": "application/yaml", "compose": "application/yaml", "kubernetes": "application/yaml",
    "zip": "application/zip", "servers": "text/csv", "workloads": "text/csv",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}  # fmt: skip
ENDINGS = {
    "compose": "compose.yaml", "kubernetes": "kubernetes.yaml", "command": "sh", "env": "env", "table": "txt",
    "fixed": "sh", "github": "txt", "sarif": "sarif", "servers": "servers.csv", "workloads": "workloads.csv",
}  # fmt: skip
CSV_TABLES = ("servers", "workloads")
"""Tables of an order beside its order list, each a file of its own."""
FIRST_DATE_OF_A_ZIP = (1980, 1, 1, 0, 0, 0)


@cache
def _kept() -> "KeptLayouts":
    """What this process keeps between requests."""
    from vllm_opt.optimizer.web.kept_layouts import KeptLayouts

    return KeptLayouts()


def solved(request: Any, catalog: Catalog, brief: bool = False) -> Any:
    """`solve` with CP-SAT loaded lean; `brief`: without its alternatives, which take as long as the plan itself."""
    from vllm_opt.optimizer.cpsat.lean_start import import_solver

    import_solver()
    from vllm_opt.optimizer.solver.solve import solve

    return solve(request, catalog, shared=_kept().of(request), brief=0 if brief else None)


def explained(request: Any, catalog: Catalog) -> Any:
    """`explain`, likewise."""
    from vllm_opt.optimizer.cpsat.lean_start import import_solver

    import_solver()
    from vllm_opt.optimizer.solver.explained import explain

    return explain(request, catalog)


def estimated(request: Any, catalog: Catalog) -> Any:
    """`estimate`."""
    from vllm_opt.optimizer.estimation.estimate import estimate

    return estimate(request, catalog)


def linted(request: Any, catalog: Catalog) -> Any:
    """`lint` of a text whose files are somewhere else."""
    from vllm_opt.optimizer.linter.lint import lint

    return lint(request, catalog, text_only=True)


def procured(request: Any, catalog: Catalog) -> Any:
    """`procure`."""
    from vllm_opt.optimizer.procurement.procure import procure

    return procure(request, catalog)


def placed(request: Any, catalog: Catalog) -> Any:
    """`place`."""
    from vllm_opt.optimizer.placement.place import place

    return place(request, catalog)


def written(verb: str, answer: Any, format_name: str) -> bytes:
    """One answer in one format; `zip` is the folder of files that start it.

    Raises:
        InvalidRequest: the answer cannot be written so.
    """
    if format_name == "json":
        from vllm_opt.optimizer.rendering.as_json import as_json

        return (as_json(answer.model_dump(mode="json")) + "\n").encode()
    if format_name == "zip":
        return _folder(verb, answer)
    if format_name == "xlsx":
        from vllm_opt.optimizer.orders.render import fleet_workbook

        return fleet_workbook(answer)
    return (_text(verb, answer, format_name).rstrip("\n") + "\n").encode()


def _text(verb: str, answer: Any, format_name: str) -> str:
    from vllm_opt.optimizer.rendering.screen import Screen

    return _renderer(verb)(answer, format_name, Screen())


def _renderer(verb: str) -> Callable[[Any, str, Any], str]:
    """What writes the answers of a verb as text."""
    from vllm_opt.optimizer.rendering.formats import render_answer, render_estimate

    if verb == "lint":
        from vllm_opt.optimizer.linter.render import render_lint

        return render_lint
    if verb == "procure":
        return _order
    if verb == "place":
        from vllm_opt.optimizer.placement.render import render_placement

        return render_placement
    return {"estimate": render_estimate, "explain": _explanation}.get(verb, render_answer)


def _explanation(answer: Any, format_name: str, screen: Any) -> str:
    from vllm_opt.optimizer.rendering.formats import render_explanation

    return render_explanation(answer, [], format_name, screen)


def _order(answer: Any, format_name: str, screen: Any) -> str:
    from vllm_opt.optimizer.orders.render import fleet_csv, render_fleet

    return fleet_csv(answer, format_name) if format_name in CSV_TABLES else render_fleet(answer, format_name, screen)


def _folder(verb: str, answer: Any) -> bytes:
    """The deployment folder as a zip; the same answer gives the same bytes."""
    from vllm_opt.optimizer.deployment.files import files_of

    if verb == "procure":
        from vllm_opt.optimizer.procurement.deployment import deployment_of_fleet

        files = files_of(deployment_of_fleet(answer))
    elif verb == "place":
        from vllm_opt.optimizer.placement.deployment import deployment_of_placement

        files = files_of(deployment_of_placement(answer))
    elif verb == "solve" and not answer.pareto:
        from vllm_opt.optimizer.deployment.of_plan import deployment_of

        files = files_of(deployment_of(answer))
    else:
        raise InvalidRequest("format zip holds the files of one plan; leave pareto out")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in sorted(files.items()):
            entry = zipfile.ZipInfo(f"deploy/{name}", FIRST_DATE_OF_A_ZIP)
            entry.external_attr = (0o755 if name.endswith(".sh") else 0o644) << 16
            archive.writestr(entry, text, zipfile.ZIP_DEFLATED)
    return packed.getvalue()
