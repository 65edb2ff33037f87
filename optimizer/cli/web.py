"""`vllm-opt web`: the page and the HTTP API."""

from typing import Any

import click

from vllm_opt.optimizer.cli.options import SETTINGS, text, with_options
from vllm_opt.profiles.errors import InvalidRequest

WEB_OPTIONS = (
    text("--host", metavar="ADDRESS", help="Where to listen. Default 127.0.0.1: this machine alone."),
    text("--port", metavar="N", help="Default 8600."),
    text(
        "--token", metavar="TEXT",
        help="Ask every request of the API for 'Authorization: Bearer TEXT'. Better as VLLM_OPT_TOKEN: other users of "
        "a machine can read its command lines.",
    ),
    text("--processes", metavar="N", help="Requests answered at once. Default: one per core, at most 8."),
    text("--queue", metavar="N", help="Requests that may wait; one more is answered 429. Default 32."),
    text("--time-limit", metavar="S", help="Seconds that one request may ask for. Default 30."),
)  # fmt: skip


@click.command("web", context_settings=SETTINGS)
@with_options(WEB_OPTIONS)
def web_command(**options: Any) -> int:
    """Serve the page and the HTTP API on this machine, until Ctrl-C.

    Needs the extra `web`: pip install 'vllm-opt[web]'. The API takes the same requests as the command line and gives
    the same JSON: POST /v1/solve, estimate, explain, lint, procure, place; GET /v1/models, gpus, quantizations,
    engines, prices; /healthz, /metrics, /openapi.json. No file of this machine is read for a request, and nothing is
    downloaded.

    Example: vllm-opt web --port 8600
    """
    from pydantic import ValidationError

    from vllm_opt.optimizer.contract.fault import one_sentence
    from vllm_opt.optimizer.web.serve import address_of, check_installed, serve
    from vllm_opt.optimizer.web.settings import WebSettings

    check_installed()
    names = {"time_limit": "longest_s"}
    given = {names.get(name, name): value for name, value in options.items() if value is not None}
    try:
        settings = WebSettings(**given)
    except ValidationError as error:
        sentence = one_sentence(error, tuple(WebSettings.model_fields))
        raise InvalidRequest(f"--{sentence.replace('longest_s', 'time-limit')}") from None
    if not settings.local_only and settings.token is None:
        click.echo(
            "vllm-opt: warning: everybody who reaches this address may ask; --token asks for a token, and a proxy with "
            "TLS keeps it secret on the way",
            err=True,
        )
    serve(settings, lambda port: click.echo(f"vllm-opt: {address_of(settings, port)} (Ctrl-C stops it)", err=True))
    return 0
