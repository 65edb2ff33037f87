"""Who may ask, from where, and how much: checked before a request reaches its verb."""

import asyncio
import hmac

from starlette.requests import Request
from starlette.responses import Response

from vllm_opt.optimizer.web.settings import WebSettings
from vllm_opt.optimizer.web.worker import error_body

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class Refused(Exception):  # noqa: N818 - an answer of its own
    """An answer other than 200, with one sentence."""

    def __init__(self, status: int, sentence: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.headers = status, sentence, headers or {}


def refusal(refused: Refused) -> Response:
    """A refusal as `vllm-opt/error/1`."""
    return Response(
        error_body(refused.sentence), refused.status, media_type="application/json",
        headers={"Cache-Control": "no-store", **refused.headers},
    )  # fmt: skip


def check_host(request: Request, settings: WebSettings) -> None:
    """A server for this machine alone answers to this machine's names alone, whatever a page elsewhere resolves to.

    Raises:
        Refused: another name was asked for.
    """
    if settings.local_only:
        name = request.headers.get("host", "").rsplit("@", 1)[-1]
        bare = name[1:].split("]")[0] if name.startswith("[") else name.split(":")[0]
        if bare.lower() not in ("127.0.0.1", "localhost", "::1"):
            raise Refused(421, "this server answers to 127.0.0.1 and localhost only; start it with --host for others")


def check_token(request: Request, settings: WebSettings) -> None:
    """Compare the bearer token, in a time that does not depend on how much of it is right.

    Raises:
        Refused: there is none, or another one.
    """
    if settings.token is None:
        return
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    right = hmac.compare_digest(given.strip().encode(), settings.token.encode())
    if scheme.lower() != "bearer" or not right:
        raise Refused(
            401, "this server asks for a token: send 'Authorization: Bearer …'", {"WWW-Authenticate": "Bearer"}
        )


async def body_of(request: Request, settings: WebSettings) -> bytes:
    """The body of a request, within its size and time.

    Raises:
        Refused: it is no JSON by its own word, too large, or too slow.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused(415, "the body must be sent as 'Content-Type: application/json'")
    try:
        return await asyncio.wait_for(_read(request, settings.largest_body_bytes), settings.body_s)
    except TimeoutError:
        raise Refused(
            408, f"the body did not come in within {settings.body_s:g} seconds", {"Connection": "close"}
        ) from None


async def _read(request: Request, largest: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > largest:
            raise Refused(413, f"the body is longer than {largest} bytes", {"Connection": "close"})
        parts.append(part)
    return b"".join(parts)
