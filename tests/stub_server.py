"""A tiny OpenAI-compatible completions server on loopback: real HTTP, chosen delays, chosen faults."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Mode = Literal["good", "error", "cut", "html", "garbage", "stream-error"]


@dataclass
class Stub:
    """What the server does, and what it was asked."""

    url: str = ""
    ttft_s: float = 0.02
    tpot_s: float = 0.002
    mode: Mode = "good"
    asked: list[dict[str, Any]] = field(default_factory=list)
    most_in_flight: int = 0
    in_flight: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def handler_of(stub: Stub) -> type[BaseHTTPRequestHandler]:
    """The request handler of one stub."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with stub.lock:
                stub.asked.append({"path": self.path, **body})
                stub.in_flight += 1
                stub.most_in_flight = max(stub.most_in_flight, stub.in_flight)
            try:
                self.answer(body)
            finally:
                with stub.lock:
                    stub.in_flight -= 1

        def answer(self, body: dict[str, Any]) -> None:
            if stub.mode in ("error", "html"):
                text = b'{"error": "no such model \x1b[31m"}' if stub.mode == "error" else b"<html>hello</html>"
                self.send_response(404 if stub.mode == "error" else 200)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            time.sleep(stub.ttft_s)
            for number in range(body["max_tokens"]):
                if number:
                    time.sleep(stub.tpot_s)
                if stub.mode == "cut" and number == 1:
                    self.close_connection = True
                    self.connection.close()
                    return
                if stub.mode == "stream-error":
                    self.send({"error": {"message": "out of memory"}})
                    break
                self.send({"choices": [{"text": "a"}]} if stub.mode == "good" else "\x00{{{")
            usage = {"prompt_tokens": len(body["prompt"]), "completion_tokens": body["max_tokens"]}
            self.send({"choices": [], "usage": usage} if stub.mode == "good" else [])
            self.send("[DONE]")
            self.wfile.write(b"0\r\n\r\n")

        def send(self, event: object) -> None:
            text = event if isinstance(event, str) else json.dumps(event)
            data = f"data: {text}\n\n".encode()
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    return Handler


class QuietServer(ThreadingHTTPServer):
    """A client that leaves early is no fault of the server's."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing."""


@contextmanager
def stub_server(**settings: Any) -> Iterator[Stub]:
    """Serve on a free port of loopback until the block ends."""
    stub = Stub(**settings)
    server = QuietServer(("127.0.0.1", 0), handler_of(stub))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    stub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
