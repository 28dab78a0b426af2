"""Count requests and measure their times, and write both in the text format of Prometheus."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Gauges = Mapping[str, tuple[str, Callable[[], float]]]


class Metrics:
    """Wrap an ASGI application and count what it answers.

    Args:
        app: The application.
        paths: Paths that are counted by name; others count as `other`, so that no client can make up new ones.

    Attributes:
        requests: Number of requests by path and status.
        buckets: Number of answered requests by path and upper limit of the seconds that they took.
        seconds: Sum of these seconds by path.
    """

    def __init__(self, app: Any, paths: Iterable[str]) -> None:
        self.app = app
        self._paths = frozenset(paths)
        self.requests: Counter[tuple[str, int]] = Counter()
        self.buckets: Counter[tuple[str, float]] = Counter()
        self.seconds: Counter[str] = Counter()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request; one whose client left before an answer is counted with status 499."""
        path = scope["path"] if scope["path"] in self._paths else "other"
        start, status = time.monotonic(), 499

        async def counted(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, counted)
        except Exception:
            status = 500
            raise
        finally:
            self._count(path, status, time.monotonic() - start)

    def _count(self, path: str, status: int, seconds: float) -> None:
        self.requests[path, status] += 1
        self.seconds[path] += seconds  # type: ignore[assignment]
        for limit in (*BUCKETS, float("inf")):
            self.buckets[path, limit] += seconds <= limit

    def text(self, gauges: Gauges) -> str:
        """Return all numbers in the text format of Prometheus.

        Args:
            gauges: Further numbers: help text and function of each by name; a name that ends in `_total` is a counter.
        """
        lines = [
            "# HELP qcs_requests_total Requests by path and HTTP status; 499: the client left before the answer.",
            "# TYPE qcs_requests_total counter",
            *(
                f'qcs_requests_total{{path="{path}",status="{status}"}} {count}'
                for (path, status), count in sorted(self.requests.items())
            ),
            "# HELP qcs_request_seconds Time from the head of a request to the end of its answer.",
            "# TYPE qcs_request_seconds histogram",
        ]
        for path in sorted(self.seconds):
            for limit in (*BUCKETS, float("inf")):
                shown = "+Inf" if limit == float("inf") else f"{limit:g}"
                lines.append(f'qcs_request_seconds_bucket{{path="{path}",le="{shown}"}} {self.buckets[path, limit]}')
            lines.append(f'qcs_request_seconds_sum{{path="{path}"}} {self.seconds[path]:.6f}')
            lines.append(f'qcs_request_seconds_count{{path="{path}"}} {self.buckets[path, float("inf")]}')
        for name, (help_text, value) in gauges.items():
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += [f"# HELP {name} {help_text}", f"# TYPE {name} {kind}", f"{name} {value():g}"]
        return "\n".join(lines) + "\n"
