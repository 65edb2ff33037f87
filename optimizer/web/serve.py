"""Run the app until somebody stops it."""

from collections.abc import Callable
from importlib.util import find_spec

from vllm_opt.optimizer.web.settings import WebSettings
from vllm_opt.profiles.errors import InvalidRequest

NEEDED = ("fastapi", "uvicorn", "pebble", "prometheus_client")
HOW_TO_INSTALL = "the page and the HTTP API need the extra 'web': pip install 'vllm-opt[web]'"


def check_installed() -> None:
    """Raise InvalidRequest with how to install it where the extra `web` is not there."""
    if any(find_spec(name) is None for name in NEEDED):
        raise InvalidRequest(HOW_TO_INSTALL)


def serve(settings: WebSettings, when_ready: Callable[[int], None]) -> None:
    """Serve until Ctrl-C; `when_ready` is given the port as soon as somebody may come.

    Raises:
        InvalidRequest: the extra is not installed, or the address cannot be had.
    """
    check_installed()
    import socket

    import uvicorn

    from vllm_opt.optimizer.web.app import create_app

    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        why = error.strerror or str(error)
        raise InvalidRequest(
            f"cannot listen on {settings.host} port {settings.port}: {why}; choose another --port"
        ) from None
    with listener:
        port = listener.getsockname()[1]
        config = uvicorn.Config(
            create_app(settings, lambda: when_ready(port)), access_log=False, log_level="warning", server_header=False,
            limit_concurrency=1000,
            timeout_keep_alive=10, timeout_graceful_shutdown=5,
        )  # fmt: skip
        uvicorn.Server(config).run(sockets=[listener])


def address_of(settings: WebSettings, port: int | None = None) -> str:
    """The address to open in a browser."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{port or settings.port}/"
