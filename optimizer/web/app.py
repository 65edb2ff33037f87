"""The app: the API, its description, health and metrics, and the page."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from vllm_opt.optimizer.web.answering import ENDINGS, MEDIA_TYPES
from vllm_opt.optimizer.web.description import described
from vllm_opt.optimizer.web.guards import HEADERS, Refused, body_of, check_host, check_token, refusal
from vllm_opt.optimizer.web.listings import KINDS
from vllm_opt.optimizer.web.metrics import Metrics
from vllm_opt.optimizer.web.page import page_routes
from vllm_opt.optimizer.web.pool import Full, Pool
from vllm_opt.optimizer.web.prepared import Prepared
from vllm_opt.optimizer.web.settings import WebSettings
from vllm_opt.optimizer.web.verbs import Verb, verbs
from vllm_opt.optimizer.web.worker import Reply, answer, listing
from vllm_opt.profiles.version import installed_version

LONGEST_FILTER = 200
Text = Annotated[str | None, Query(min_length=1, max_length=LONGEST_FILTER)]
Texts = Annotated[list[str] | None, Query(max_length=20)]
Alternatives = Annotated[
    Literal["all", "none"], Query(description="none leaves the alternatives out, and is sooner by about a third")
]
ASKS_EVERY_S = 0.5
"""How often a request that waits looks whether its caller is still there."""


def create_app(settings: WebSettings | None = None, when_ready: Callable[[], None] | None = None) -> FastAPI:
    """The app with its own processes; they start with it and end with it.

    The port opens, and `when_ready` is called, when the first question of the page is answered.
    """
    settings = settings or WebSettings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.pool = Pool(settings)
        app.state.metrics = Metrics(app.state.pool)
        app.state.prepared = Prepared(app.state.pool, settings)
        await app.state.prepared.make()
        if when_ready is not None:
            when_ready()
        try:
            yield
        finally:
            await app.state.prepared.close()
            app.state.pool.close()

    app = FastAPI(
        title="vllm-opt", version=installed_version(), lifespan=lifespan, docs_url=None, redoc_url=None,
        redirect_slashes=False,
        summary="The provably best vLLM deployment: what the command line answers, as the same JSON.",
    )  # fmt: skip
    app.openapi = lambda: described(app)  # type: ignore[method-assign]
    _add_guards(app, settings)
    _add_health(app)
    for verb in verbs():
        _add_verb(app, settings, verb)
    for kind in (*KINDS, "choices"):
        _add_listing(app, kind)
    _add_page(app)
    return app


def _add_guards(app: FastAPI, settings: WebSettings) -> None:
    @app.middleware("http")
    async def guarded(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        started = time.monotonic()
        try:
            check_host(request, settings)
            if request.url.path.startswith("/v1/") or request.url.path == "/metrics":
                check_token(request, settings)
            response = await call_next(request)
        except Refused as refused:
            response = refusal(refused)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        route = request.scope.get("route")
        path = getattr(route, "path", "other")
        request.app.state.metrics.observe(path, response.status_code, time.monotonic() - started)
        return response

    @app.exception_handler(Refused)
    async def refused(_request: Request, refused: Refused) -> Response:
        return refusal(refused)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> Response:
        fault = error.errors()[0]
        return refusal(Refused(400, f"{fault['loc'][-1]}: {fault['msg']}"))

    @app.exception_handler(HTTPException)
    async def other(_request: Request, error: HTTPException) -> Response:
        known = {404: "there is nothing here; /openapi.json lists what there is", 405: "this path takes another method"}
        return refusal(
            Refused(error.status_code, known.get(error.status_code, str(error.detail)), dict(error.headers or {}))
        )


def _add_health(app: FastAPI) -> None:
    @app.get("/healthz", summary="Whether the server is up, and how many requests are inside.")
    async def healthz(request: Request) -> dict[str, Any]:
        return {"status": "ok", "version": installed_version(), "inside": request.app.state.pool.inside}

    @app.get("/metrics", summary="Counts and times, for Prometheus.")
    async def metrics(request: Request) -> Response:
        return Response(request.app.state.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_verb(app: FastAPI, settings: WebSettings, verb: Verb) -> None:
    form = Annotated[str, Query(max_length=20, description=f"one of {', '.join(verb.formats)}")]

    async def replied(request: Request, format_name: str, brief: bool) -> Response:
        if format_name not in verb.formats:
            raise Refused(400, f"format: must be one of {', '.join(verb.formats)}")
        body = await body_of(request, settings)
        prepared = request.app.state.prepared.solve(body, format_name, brief) if verb.name == "solve" else None
        if prepared is not None:
            return _response(prepared, verb.name)
        limits = settings.longest_s, settings.largest_body_bytes
        return _response(await _run(request, answer, verb.name, body, format_name, *limits, brief), verb.name)

    async def post(request: Request, format: form = "json") -> Response:
        return await replied(request, format, brief=False)

    async def post_briefly(
        request: Request,
        format: form = "json",
        alternatives: Alternatives = "all",
    ) -> Response:
        return await replied(request, format, brief=alternatives == "none")

    app.add_api_route(
        f"/v1/{verb.name}", post_briefly if verb.name == "solve" else post, methods=["POST"],
        summary=verb.summary, name=verb.name, operation_id=verb.name, response_class=Response,
    )  # fmt: skip


def _add_listing(app: FastAPI, kind: str) -> None:
    if kind == "prices":

        async def get(
            request: Request, name: Text = None, provider: Texts = None, billing: Texts = None, region: Texts = None
        ) -> Response:
            filters = {"name": name, "provider": provider, "billing": billing, "region": region}
            return _response(await _run(request, listing, kind, filters), kind)

    elif kind == "choices":

        async def get(request: Request) -> Response:  # type: ignore[misc]
            prepared = request.app.state.prepared.choices()
            return _response(prepared or await _run(request, listing, kind, {}), kind)
    else:

        async def get(request: Request, name: Text = None) -> Response:  # type: ignore[misc]
            return _response(await _run(request, listing, kind, {"name": name}), kind)

    app.add_api_route(
        f"/v1/{kind}", get, methods=["GET"], name=kind, operation_id=kind, response_class=Response,
        summary=f"The catalogue: {kind}.",
    )  # fmt: skip


async def _run(request: Request, function: Callable[..., Reply], *arguments: Any) -> Reply:
    """Run in the pool for as long as the caller is there.

    Raises:
        Refused: there is no place.
    """
    pool: Pool = request.app.state.pool
    task = asyncio.ensure_future(pool.run(function, *arguments))
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=ASKS_EVERY_S)
            if not task.done() and await request.is_disconnected():
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
                raise Refused(499, "the caller left")
        return task.result()
    except Full:
        raise Refused(429, "too many requests are waiting; ask again in a second", {"Retry-After": "1"}) from None


def _response(reply: Reply, name: str) -> Response:
    media = MEDIA_TYPES.get(reply.format_name, "text/plain")
    headers = {"Cache-Control": "no-store"}
    if reply.format_name != "json":
        ending = ENDINGS.get(reply.format_name, reply.format_name)
        headers["Content-Disposition"] = f'attachment; filename="vllm-opt-{name}.{ending}"'
    charset = "; charset=utf-8" if media.startswith("text/") or media == "application/yaml" else ""
    return Response(reply.body, reply.status, headers=headers, media_type=None if not media else f"{media}{charset}")


def _add_page(app: FastAPI) -> None:
    app.router.routes.extend(page_routes())
