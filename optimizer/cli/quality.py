"""`vllm-opt quality MODEL`: what each published checkpoint and KV-cache dtype keeps of a model's scores."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from vllm_opt.optimizer.cli.options import SETTINGS, VLLM_VERSION, number, text

if TYPE_CHECKING:
    from vllm_opt.profiles.catalogues.catalog import Catalog
    from vllm_opt.profiles.nouns.engine import EngineProfile
    from vllm_opt.profiles.nouns.model import ModelProfile
    from vllm_opt.profiles.nouns.quality import Quality

CLASSES = ("knowledge", "reasoning", "code", "long_context")
BILLION = 1e9
HOPPER, ADA = (9, 0), (8, 9)


@click.command("quality", context_settings=SETTINGS)
@click.argument("model")
@number("--confidence", help="How sure the low end must be, 0.5 to 0.99. Default 0.9.")
@number("--min-quality", help="The floor to compare with. Default 0.98.")
@VLLM_VERSION
@click.option(
    "--format", "format_name", type=click.Choice(("table", "json", "yaml")), default="table", help="Default: table."
)
@text("--output", "-o", metavar="FILE", help="Write the table to this file, whole or not at all.")
def quality_command(
    model: str,
    confidence: str | None,
    min_quality: str | None,
    vllm_version: str | None,
    format_name: str,
    output: str | None,
) -> int:
    """Show what MODEL keeps of its scores in each weight format and KV-cache dtype, and on what evidence.

    Recovery is the score divided by that of the model as published. `at least` is the low end of the pooled mean at the
    confidence asked: what `solve` compares with --min-quality, weights and KV cache multiplied.
    """
    from vllm_opt.optimizer.cli.output import write_answer
    from vllm_opt.profiles.catalogues.catalog import Catalog
    from vllm_opt.profiles.reading.quantities import parse_amount

    sure = parse_amount("0.9" if confidence is None else confidence, "--confidence", 0.5, 0.99)
    floor = parse_amount("0.98" if min_quality is None else min_quality, "--min-quality", 0, 1.5)
    document = quality_document(Catalog(), model, vllm_version, sure, floor)
    if format_name == "table":
        write_answer(_table(document, to_file=output is not None), output)
        return 0
    from vllm_opt.optimizer.rendering.written_forms import document_as

    write_answer(document_as(document, format_name), output)
    return 0


def quality_document(
    catalog: "Catalog", name: str, version: str | None, confidence: float, floor: float
) -> dict[str, Any]:
    """Everything that is known, as `--format json` prints it.

    Raises:
        UnknownProfile: the model or the release is unknown.
    """
    from vllm_opt.constraints.weights.breakdown import parameter_count

    model = catalog.model(name)
    engine, _ = catalog.engine(version)
    parameters = parameter_count(model)
    weights = [
        {**who, **_numbers(quality, confidence, floor), "benchmarks": _rows(catalog, who["checkpoint"])}
        for who, quality in _weights(catalog, model, parameters / BILLION)
    ]
    return {
        "schema": "vllm-opt/quality/1",
        "model": model.id,
        "parameters": parameters,
        "vllm_version": engine.version,
        "confidence": confidence,
        "min_quality": floor,
        "weights": weights,
        "kv_cache": list(_caches(catalog, model, engine, confidence, floor)),
    }


def _weights(catalog: "Catalog", model: "ModelProfile", billions: float) -> Iterator[tuple[dict[str, Any], "Quality"]]:
    """The model as published, then its checkpoints, the best publisher first."""
    native = model.native_quantization.quantization if model.native_quantization else "bf16"
    yield (
        {
            "quantization": native,
            "checkpoint": model.id,
            "publisher": catalog.model_names.publisher_of(model),
        },
        catalog.quality.weights(model, native, model.id, billions),
    )
    for row in sorted(model.checkpoints, key=lambda each: each.order):
        who = {"quantization": row.quantization, "checkpoint": row.id, "publisher": row.publisher}
        yield who, catalog.quality.weights(model, row.quantization, row.id, billions)


def _numbers(quality: "Quality", confidence: float, floor: float) -> dict[str, Any]:
    low = quality.low(confidence)
    return {
        "recovery": quality.recovery,
        "interval": quality.interval(confidence),
        "at_least": low,
        "meets_floor": low is not None and low >= floor,
        "evidence": quality.evidence,
    }


def _rows(catalog: "Catalog", checkpoint: str) -> list[dict[str, Any]]:
    """The published benchmarks of one checkpoint."""
    return [dict(row) for row in catalog.quality.evidence if row.get("checkpoint", "").lower() == checkpoint.lower()]


def _caches(
    catalog: "Catalog", model: "ModelProfile", engine: "EngineProfile", confidence: float, floor: float
) -> Iterator[dict[str, Any]]:
    limit = catalog.quality.long_context_tokens
    for card, capability in (("compute capability 9.0", HOPPER), ("other cards", ADA)):
        for long in (False, True):
            quality = catalog.quality.kv_cache(model, "fp8", engine, capability, long=long)
            yield {
                "kv_cache_dtype": "fp8",
                "card": card,
                "context": f"above {limit} tokens" if long else f"up to {limit} tokens",
                **_numbers(quality, confidence, floor),
            }


def _table(document: dict[str, Any], *, to_file: bool) -> str:
    from vllm_opt.optimizer.rendering.plan import bullets, heading
    from vllm_opt.optimizer.rendering.screen import drawn, screen_of_standard_output
    from vllm_opt.optimizer.rendering.tables import table_of

    screen = screen_of_standard_output(to_file)
    sides = [("weights", "left"), ("keeps", "right"), ("at least", "right"), ("floor", "left")]
    weights = table_of(
        [("format", "left"), *sides, *((name.replace("_", " "), "right") for name in CLASSES)],
        [
            [row["quantization"], f"{row['checkpoint']} ({row['publisher']})", *_cells(row), *_by_class(row)]
            for row in document["weights"]
        ],
        screen,
    )
    caches = table_of(
        [("KV cache", "left"), ("on", "left"), ("context", "left"), *sides[1:]],
        [[row["kv_cache_dtype"], row["card"], row["context"], *_cells(row)] for row in document["kv_cache"]],
        screen,
    )
    said = dict.fromkeys(row["evidence"] for row in (*document["weights"], *document["kv_cache"]) if row["evidence"])
    summary = (
        f"{document['model']}: share of the score of the model as published, low end at confidence "
        f"{document['confidence']:g} against a floor of {document['min_quality']:g}"
    )
    return drawn(summary, weights, caches, heading("Evidence"), *bullets(tuple(said)), screen=screen)


def _cells(row: dict[str, Any]) -> list[str]:
    from vllm_opt.optimizer.contract.quantities import optional, percent

    meets = "not published" if row["at_least"] is None else "meets" if row["meets_floor"] else "below"
    return [optional(row["recovery"], percent), optional(row["at_least"], percent), meets]


def _by_class(row: dict[str, Any]) -> list[str]:
    """Mean recovery of this checkpoint's own rows in each class of benchmarks, as published: not pooled, not capped."""
    from statistics import mean

    from vllm_opt.optimizer.contract.quantities import optional, percent

    found = []
    for name in CLASSES:
        values = [each["recovery"] for each in row["benchmarks"] if each["class"] == name and "note" not in each]
        found.append(optional(mean(values) if values else None, percent))
    return found
