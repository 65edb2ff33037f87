"""The page: a few files as they are, with no build step and nothing from another host."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

FOLDER = Path(__file__).parent / "data" / "page"
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def page_routes() -> list[Route]:
    """A route for the page and one for each of its files: what is not listed is not there."""
    found = []
    for file in sorted(FOLDER.iterdir()):
        if file.suffix in KINDS:
            path = "/" if file.name == "index.html" else f"/page/{file.name}"
            found.append(Route(path, _sender(file.read_bytes(), KINDS[file.suffix]), methods=["GET", "HEAD"]))
    return found


def _sender(content: bytes, media_type: str) -> Callable[[Request], Any]:
    async def send(_request: Request) -> Response:
        return Response(content, media_type=f"{media_type}; charset=utf-8", headers={"Cache-Control": "no-cache"})

    return send
