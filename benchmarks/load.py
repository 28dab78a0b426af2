"""Load `qcs serve` with parallel clients: requests a second, slowest answers, memory, refused uploads.

`python -m benchmarks.load --photograph photo.png` starts the server on a free port, and 50 clients send requests to its
service, each the next one when the answer to the last has come. Two rounds:

* `photographs`, for a minute: every request is the photograph, with detection;
* `large files`, for a quarter of a minute: every request is a file of 5 MB taken as a face, more than the server holds
  in memory for all clients together, so it refuses some.

Clients run on the same machine and take their share of it. The record has the load before the start. The
table on the page of the service is made from it.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from qcs.files import write_text

OUTPUT = Path(__file__).with_suffix(".json")
PAGE = Path(__file__).parents[1] / "docs" / "serve.md"
CLIENTS = 50
SIDE = 1300  # pixels: a color image of noise of this size is a PNG file of 5 MB


@dataclass
class Seen:
    """What the clients saw.

    Attributes:
        seconds: Time of each answered request.
        statuses: Number of requests by status; 0 for a connection that failed.
    """

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)


def load(port: int, path: str, kind: str, body: bytes, seconds: float, clients: int = CLIENTS) -> dict[str, Any]:
    """Send a body from parallel clients for so many seconds; return what they saw, and the memory of the server."""
    seen, end, memory = Seen(), time.monotonic() + seconds, [_metric(port, "process_resident_memory_bytes")]

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        while (began := time.monotonic()) < end:
            try:
                connection.request("POST", path, body, {"content-type": kind})
                response = connection.getresponse()
                response.read()
            except OSError:
                seen.statuses[0] += 1
                connection.close()
                continue
            seen.statuses[response.status] += 1
            if response.status == 200:
                seen.seconds.append(time.monotonic() - began)
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(clients)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    while time.monotonic() < end:
        memory.append(_metric(port, "process_resident_memory_bytes"))
        time.sleep(min(1.0, max(0.0, end - time.monotonic())))
    for thread in threads:
        thread.join()
    return summary(seen, time.monotonic() - began, memory)


def summary(seen: Seen, seconds: float, memory: list[float]) -> dict[str, Any]:
    """Return the figures of a round.

    Example:
        >>> found = summary(Seen([0.1, 0.3], Counter({200: 2, 503: 1})), 2.0, [4e6, 5e6])
        >>> found["answers per second"], found["refused"], found["memory, MB"]
        (1.0, 1, {'before': 4, 'most': 5})
    """
    times = np.percentile(seen.seconds, [50, 95, 99, 100]) if seen.seconds else np.full(4, np.nan)
    names = ("median", "95th percentile", "99th percentile", "slowest")
    return {
        "seconds": round(seconds, 1),
        "answers per second": round(len(seen.seconds) / seconds, 2),
        "seconds per answer": {name: round(float(value), 3) for name, value in zip(names, times, strict=True)},
        "statuses": {str(status): count for status, count in sorted(seen.statuses.items())},
        "refused": seen.statuses[503],
        "memory, MB": {"before": round(memory[0] / 1e6), "most": round(max(memory) / 1e6)},
    }


def table(record: dict[str, Any]) -> str:
    """Return the rounds as a table in Markdown, with its conditions."""
    lines = ["| round | answers per second | median, s | 99th percentile, s | answered | refused | most memory, MB |"]
    lines.append("|---" * 7 + "|")
    for name, found in record["rounds"].items():
        seconds = found["seconds per answer"]
        figures = (found["answers per second"], seconds["median"], seconds["99th percentile"])
        counts = (found["statuses"].get("200", 0), found["refused"], found["memory, MB"]["most"])
        lines.append("| " + " | ".join([name, *map(str, figures), *(f"{count:,}" for count in counts)]) + " |")
    machine = "that was idle before" if record["idle"] else "that did other work at the same time"
    return "\n".join([*lines, "", f"({record['clients']} clients, on a machine of {record['cores']} cores {machine})"])


def updated(page: str, record: dict[str, Any]) -> str:
    """Return a page whose table is that of the record."""
    return re.sub(r"\| round \|.*?\n\n\([^)]*\)", lambda _: table(record), page, flags=re.DOTALL)


def _metric(port: int, name: str) -> float:
    """Return a number of the metrics; 0 while the server has no connection left for it."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
    except OSError:
        return 0.0
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def _noise() -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def main() -> None:
    """Start the server, load it, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photograph", type=Path, required=True, help="JPEG, PNG or WebP file with a face")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the first round; default 60")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="file to write")
    options = parser.parse_args()
    before = os.getloadavg()[0]
    command = [sys.executable, "-m", "qcs", "serve", "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = int(re.findall(r"http://127\.0\.0\.1:(\d+)", server.stdout.readline())[0])
        kind = Image.open(options.photograph).get_format_mimetype() or ""
        photograph, large = options.photograph.read_bytes(), _noise()
        load(port, "/v1/predict", kind, photograph, 1.0, clients=2)  # to warm up
        rounds = {
            "photographs": load(port, "/v1/predict", kind, photograph, options.seconds),
            "large files": load(port, "/v1/predict?detect=false", "image/png", large, options.seconds / 4),
        }
        batched = _metric(port, "qcs_batched_images_total") / _metric(port, "qcs_batches_total")
    finally:
        server.terminate()
        server.wait(30)
    record = {
        "command": "python -m benchmarks.load --photograph PHOTOGRAPH",
        "clients": CLIENTS,
        "photograph": {"pixels": list(Image.open(options.photograph).size), "bytes": len(photograph)},
        "large file, bytes": len(large),
        "cores": os.cpu_count(),
        "load average before": round(before, 2),
        "idle": before < 1.0,
        "images per batch, mean": round(batched, 2),
        "rounds": rounds,
    }
    if options.output == OUTPUT:
        print(write_text(PAGE, updated(PAGE.read_text(encoding="utf-8"), record)))
    print(write_text(options.output, json.dumps(record, indent=1) + "\n"))


if __name__ == "__main__":
    main()
