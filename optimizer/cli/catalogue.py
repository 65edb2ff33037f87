"""`vllm-opt models | gpus | quantizations | engines`: what the catalogue holds."""

from collections.abc import Callable
from typing import Any

import click

from vllm_opt.optimizer.cli.options import GPU_FILE, SETTINGS, text, with_options

LISTING = (
    click.argument("name", required=False, default=None),
    click.option(
        "--format", "format_name", type=click.Choice(("table", "json", "yaml")), default="table", help="Default: table."
    ),
    text("--output", "-o", metavar="FILE", help="Write the list to this file, whole or not at all."),
)


def show_rows(kind: str, rows: list[dict[str, Any]], format_name: str, output: str | None) -> int:
    """Print rows as a table of their short columns, or whole as JSON or YAML."""
    from vllm_opt.optimizer.cli.output import write_answer

    if format_name == "table":
        from vllm_opt.optimizer.cli.catalogue_tables import catalogue_table, prices_table
        from vllm_opt.optimizer.rendering.screen import screen_of_standard_output

        screen = screen_of_standard_output(output is not None)
        write_answer(prices_table(rows, screen) if kind == "prices" else catalogue_table(kind, rows, screen), output)
        return 0
    from vllm_opt.optimizer.rendering.written_forms import document_as

    document = {"schema": f"vllm-opt/{kind}/1", kind: rows}
    write_answer(document_as(document, format_name), output)
    return 0


def matching(rows: list[dict[str, Any]], name: str | None, keys: tuple[str, ...], what: str) -> list[dict[str, Any]]:
    """Keep the rows in which one of the keys contains the name, case ignored.

    Raises:
        UnknownProfile: no row does.
    """
    if name is None:
        return rows
    kept = [row for row in rows if any(name.lower() in spelling.lower() for spelling in _spellings(row, keys))]
    if not kept:
        from vllm_opt.profiles.errors import UnknownProfile, did_you_mean

        known = {spelling for row in rows for spelling in _spellings(row, keys)}
        raise UnknownProfile(f"no {what} matches '{name[:80]}'{did_you_mean(name, known)}")
    return kept


def _spellings(row: dict[str, Any], keys: tuple[str, ...]) -> list[str]:
    values = [row.get(key) for key in keys]
    return [str(item) for value in values for item in (value if isinstance(value, list | tuple) else [value])]


def _listing(what: str, *options: Callable[[Any], Any]) -> Callable[[Callable[..., int]], click.Command]:
    def decorate(function: Callable[..., int]) -> click.Command:
        return click.command(what, context_settings=SETTINGS)(with_options((*LISTING, *options))(function))

    return decorate


@_listing("models")
def models_command(name: str | None, format_name: str, output: str | None) -> int:
    """List the models, or those whose id contains NAME; a model that cannot be sized is listed with the reason."""
    from vllm_opt.optimizer.rendering.catalogue_rows import model_rows
    from vllm_opt.profiles.catalogues.catalog import Catalog

    catalog = Catalog()
    known = sorted(catalog.model_ids, key=str.lower)
    chosen = [model_id for model_id in known if name is None or name.lower() in model_id.lower()]
    if name is not None and not chosen:
        chosen = [catalog.model(name).id]
    return show_rows("models", model_rows(catalog, chosen), format_name, output)


@_listing("gpus", GPU_FILE)
def gpus_command(name: str | None, format_name: str, output: str | None, gpu_file: str | None) -> int:
    """List the GPU SKUs, or those whose id, name or alias contains NAME."""
    from vllm_opt.optimizer.rendering.catalogue_rows import gpu_rows
    from vllm_opt.profiles.catalogues.catalog import Catalog

    rows = gpu_rows(Catalog(gpu_file=gpu_file))
    return show_rows("gpus", matching(rows, name, ("id", "name", "aliases"), "GPU"), format_name, output)


@_listing("quantizations")
def quantizations_command(name: str | None, format_name: str, output: str | None) -> int:
    """List the weight formats, or those whose id or spelling contains NAME."""
    from vllm_opt.optimizer.rendering.catalogue_rows import quantization_rows
    from vllm_opt.profiles.catalogues.catalog import Catalog

    rows = quantization_rows(Catalog())
    return show_rows("quantizations", matching(rows, name, ("id", "names"), "quantisation"), format_name, output)


@_listing("engines")
def engines_command(name: str | None, format_name: str, output: str | None) -> int:
    """List the vLLM releases, or those whose version contains NAME."""
    from vllm_opt.profiles.catalogues.catalog import Catalog

    rows = [engine.model_dump(mode="json") for engine in Catalog().engines]
    return show_rows("engines", matching(rows, name, ("version",), "vLLM release"), format_name, output)
