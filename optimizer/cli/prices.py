"""`vllm-opt prices`: the machines on offer, and importing a list of one's own."""

from typing import TYPE_CHECKING, Any

import click

from vllm_opt.optimizer.cli.catalogue import LISTING, matching, show_rows
from vllm_opt.optimizer.cli.options import PRICES, SETTINGS, switch, text, with_options

if TYPE_CHECKING:
    from vllm_opt.profiles.catalogues.price_import import ImportReport

MOST_REASONS = 6
IMPORT = (
    text("--import", "import_file", metavar="FILE", help="Keep the prices of SkyPilot's catalogue (vms.csv) or "
         "gpuhunt's (CSV, JSON) for later answers, in place of what is known of that provider."),
    text("--as-of", metavar="DATE", help="Date of the imported prices. Default: when the file was last changed."),
    switch("--all-regions", help="Import every region, not the cheapest in the US and in Europe."),
    switch("--forget", help="Forget what was imported, of --provider or of all."),
)  # fmt: skip


@click.command("prices", context_settings=SETTINGS)
@with_options((*LISTING, *PRICES[:3], PRICES[5], *IMPORT))
def prices_command(name: str | None, format_name: str, output: str | None, **options: Any) -> int:
    """List the machines on offer, of every SKU or of those whose id contains NAME."""
    from vllm_opt.profiles.catalogues.catalog import Catalog
    from vllm_opt.profiles.errors import InvalidRequest

    if options["forget"] or options["import_file"] is not None:
        if options["forget"] and options["import_file"] is not None:
            raise InvalidRequest("--import and --forget exclude each other")
        sentences = _forget(options["provider"]) if options["forget"] else _import(options)
        from vllm_opt.optimizer.cli.output import write_answer

        write_answer("\n".join(sentences) + "\n", output)
        return 0
    from vllm_opt.optimizer.rendering.catalogue_rows import price_rows

    rows = price_rows(
        Catalog(prices_file=options["prices"]), options["provider"], options["billing"], options["region"]
    )
    return show_rows("prices", matching(rows, name, ("gpu",), "price"), format_name, output)


def _import(options: dict[str, Any]) -> list[str]:
    """Read a catalogue, keep it, and say what became of its rows."""
    from pathlib import Path

    from vllm_opt.profiles.catalogues.catalog import Catalog
    from vllm_opt.profiles.catalogues.own_prices import OwnList, keep_own_prices
    from vllm_opt.profiles.catalogues.price_import import read_catalogue
    from vllm_opt.profiles.catalogues.prices import load_prices
    from vllm_opt.profiles.errors import InvalidRequest

    if len(options["provider"]) > 1:
        raise InvalidRequest("--import takes the prices of one provider; name one with --provider")
    report = read_catalogue(
        Path(options["import_file"]), load_prices().offers, Catalog().gpu,
        provider=next(iter(options["provider"]), None), as_of=options["as_of"],
        all_regions=bool(options["all_regions"]),
    )  # fmt: skip
    path = keep_own_prices(OwnList(report.provider, report.as_of, report.source, tuple(report.offers)))
    return [
        *_report(report),
        f"Kept in {path}; `vllm-opt prices --forget` goes back to the list that comes with vllm-opt.",
    ]


def _report(report: "ImportReport") -> list[str]:
    machines = {offer.instance_type for offer in report.offers}
    lines = [
        f"{report.provider}, {report.as_of}: {len(report.offers)} prices of {len(machines)} machines with "
        f"{len({offer.gpu for offer in report.offers})} SKUs."
    ]
    for reason, count in report.refused.most_common(MOST_REASONS):
        lines.append(f"Refused {count}: {reason}.")
    more = len(report.refused) - MOST_REASONS
    lines += [f"Refused for {more} more reasons."] if more > 0 else []
    lines += [f"Far from the median: {words}." for words in report.far_from_median[:MOST_REASONS]]
    return [*lines, *(f"Note: {note}." for note in report.notes)]


def _forget(providers: tuple[str, ...]) -> list[str]:
    from vllm_opt.profiles.catalogues.own_prices import forget_own_prices, load_own_prices
    from vllm_opt.profiles.errors import UnknownProfile, did_you_mean

    if not providers:
        count = forget_own_prices()
        return [
            "Nothing was imported." if not count else f"Forgotten: {count} imported list{'s' if count > 1 else ''}."
        ]
    known = {one.provider.lower(): one.provider for one in load_own_prices()}
    for provider in providers:
        if provider.lower() not in known:
            raise UnknownProfile(f"nothing of '{provider[:60]}' was imported{did_you_mean(provider, known.values())}")
        forget_own_prices(known[provider.lower()])
    return [f"Forgotten: {', '.join(known[provider.lower()] for provider in providers)}."]
