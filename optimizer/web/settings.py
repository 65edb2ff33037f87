"""How a server is set up: where it listens, who may ask, and how much one request may take."""

import os

from pydantic import Field

from vllm_opt.profiles.noun import Noun

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def _two_processes() -> int:
    return max(1, min(8, os.cpu_count() or 1))


class WebSettings(Noun):
    """Everything that `vllm-opt web` decides."""

    host: str = "127.0.0.1"
    port: int = Field(8600, ge=0, le=65535)
    token: str | None = Field(None, min_length=1, max_length=4096, description="asked for as `Authorization: Bearer`")
    processes: int = Field(default_factory=_two_processes, ge=1, le=256, description="requests answered at once")
    queue: int = Field(32, ge=0, le=10_000, description="requests that may wait; one more is answered 429")
    longest_s: float = Field(30.0, gt=0, le=3600, description="time_limit of a request at most, and by default")
    largest_body_bytes: int = Field(1 << 20, ge=1024, le=1 << 28)
    body_s: float = Field(10.0, gt=0, description="seconds in which a body must have come in")

    @property
    def killed_after_s(self) -> float:
        """When a process that does not answer is ended: a fleet without a plan explains itself for as long again."""
        return 2 * self.longest_s + 10

    @property
    def local_only(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in LOOPBACK
