"""Counts and times for a Prometheus scraper: no request's content, only how many, how long and how it ended."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vllm_opt.optimizer.web.pool import Pool

SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """One server's own registry, so that two servers in a process do not count for each other."""

    def __init__(self, pool: "Pool") -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self._registry = CollectorRegistry()
        self._requests = Counter("vllm_opt_requests", "Requests answered.", ("path", "status"), registry=self._registry)
        self._seconds = Histogram(
            "vllm_opt_request_seconds", "From the request to its answer.", ("path",), buckets=SECONDS,
            registry=self._registry,
        )  # fmt: skip
        Gauge("vllm_opt_requests_inside", "Requests that run or wait.", registry=self._registry).set_function(
            lambda: pool.inside
        )

    def observe(self, path: str, status: int, seconds: float) -> None:
        """Count one answer; `path` is a route, never what somebody typed."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def text(self) -> bytes:
        """All of them, in the text format of Prometheus."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry)
