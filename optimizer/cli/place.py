"""`vllm-opt place SITE.yaml`: which model runs on which GPUs of the nodes that are owned."""

from typing import TYPE_CHECKING, Any

import click

from vllm_opt.optimizer.cli.options import SETTINGS, text, with_options
from vllm_opt.optimizer.cli.save_dir import SAVE_DIR_OPTIONS, check_save_options, saved

if TYPE_CHECKING:
    from vllm_opt.optimizer.placement.answer import PlacementAnswer
    from vllm_opt.optimizer.placement.request import PlaceRequest

NOTHING_FITS, NO_ANSWER = 1, 3
FORMATS = ("table", "json", "yaml", "html")

PLACE_OPTIONS = (
    click.option("--init", "init", is_flag=True, help="Write an example of SITE.yaml, to standard output or --output."),
    click.option("--schema", "show_schema", is_flag=True, help="Print the JSON schema of SITE.yaml."),
    text(
        "--from-kubectl", metavar="FILE",
        help="Nodes from `kubectl get nodes -o json`, in place of those in the file.",
    ),
    text(
        "--from-pods", metavar="FILE",
        help="What runs today from `kubectl get pods -A -o json`, in place of the file's placement.",
    ),
    click.option(
        "--survive", type=click.Choice(("node",)), default=None,
        help="Any one node may fail and services of priority 1 (survive_priority) still run.",
    ),
    click.option(
        "--objective", multiple=True, type=click.Choice(("served", "headroom", "moves", "gpus", "watts", "blocks")),
        help="Repeat, most wanted first; served always comes first. Default: served headroom moves gpus blocks.",
    ),
    click.option("--sharing/--no-sharing", default=None, help="Whether services may share a GPU. Default: they may."),
    click.option("--format", "format_name", type=click.Choice(FORMATS), default="table", help="Default: table."),
    text("--output", "-o", metavar="FILE", help="Write the answer to this file, whole or not at all."),
    *SAVE_DIR_OPTIONS,
    text("--time-limit", metavar="S", help="Seconds for the placement; overrides the file. Default: 30."),
    text("--workers", metavar="N", help="Threads of the solver; overrides the file."),
    text("--seed", metavar="N", help="The same file and seed give the same placement; overrides the file."),
    click.option(
        "--second-opinion", is_flag=True, default=None,
        help="Count every plan and GPU again, slowly, by code that shares nothing with the search.",
    ),
)  # fmt: skip


@click.command("place", context_settings=SETTINGS)
@click.argument("site", required=False, metavar="SITE.yaml")
@with_options(PLACE_OPTIONS)
def place_command(site: str | None, **options: Any) -> int:
    """Decide where every model runs on the GPUs that you own, what moves, and why something does not fit.

    Example: vllm-opt place --init > site.yaml && vllm-opt place site.yaml --survive node
    """
    from vllm_opt.optimizer.cli.output import write_answer

    if options["init"]:
        from vllm_opt.optimizer.placement.site_file import EXAMPLE

        write_answer(EXAMPLE.rstrip("\n"), options["output"])
        return 0
    if options["show_schema"]:
        from vllm_opt.optimizer.placement.site_file import site_schema
        from vllm_opt.optimizer.rendering.as_json import as_json

        write_answer(as_json(site_schema()), options["output"])
        return 0
    check_save_options(options)
    if site is None:
        raise click.UsageError("name a site file, as in: vllm-opt place SITE.yaml (vllm-opt place --init writes one)")
    from vllm_opt.optimizer.placement.place import place
    from vllm_opt.optimizer.rendering.progress import ProgressLine

    request = _request(site, options)
    with ProgressLine("placement", request.time_limit):
        answer = place(request)
    return _shown(answer, options)


def _request(site: str, options: dict[str, Any]) -> "PlaceRequest":
    """The site file, with what the command line and the cluster say in place of what it says."""
    from vllm_opt.optimizer.placement.kubectl import nodes_from_kubectl, placement_from_pods
    from vllm_opt.optimizer.placement.site_file import read_site

    given: dict[str, Any] = {}
    if options["from_kubectl"]:
        given["nodes"] = nodes_from_kubectl(options["from_kubectl"])
    request = read_site(site, given)
    changes = {
        name: options[name] for name in ("time_limit", "workers", "seed", "survive", "sharing", "second_opinion")
    }
    changes = {name: value for name, value in changes.items() if value is not None}
    if options["objective"]:
        changes["objective"] = options["objective"]
    if options["from_pods"]:
        changes["placement"] = placement_from_pods(options["from_pods"], request)
    return request.replaced(**changes) if changes else request


def _shown(answer: "PlacementAnswer", options: dict[str, Any]) -> int:
    from vllm_opt.optimizer.cli.output import write_answer
    from vllm_opt.optimizer.placement.render import render_placement
    from vllm_opt.optimizer.rendering.screen import screen_of_standard_output

    code = None
    if options["save_dir"] is not None:
        from vllm_opt.optimizer.placement.deployment import deployment_of_placement

        code = saved(options, lambda: {"": deployment_of_placement(answer)})
    if options["check"]:
        return code or 0
    screen = screen_of_standard_output(options["output"] is not None)
    write_answer(render_placement(answer, options["format_name"], screen), options["output"])
    if answer.second_opinion is not None:
        from vllm_opt.optimizer.cli.output import told

        if told(answer.second_opinion):
            return 1
    if answer.status == "unknown":
        return NO_ANSWER
    return NOTHING_FITS if answer.unplaced else 0
