"""Run one library in its environment, on one core, for `benchmarks.runtime`; needs nothing of this repository.

Speeds are in seconds of processor time, which other processes disturb less than wall time.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import numpy as np

ROUNDS = 3  # of a throughput, of which the fastest counts
SINGLE = 64  # faces that are classified one at a time


def main(name: str, precision: str, faces_file: str, labeled_file: str, photographs: str, output: str) -> None:
    """Measure and write times and probabilities."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    start = time.perf_counter()  # the interpreter itself has started
    library, options, classify = _library(name, precision)
    faces = list(np.load(faces_file))
    library.predict(faces[0], detect=False, **options)
    first, first_cpu = time.perf_counter() - start, time.process_time()

    found = [library.predict(path, **options) for path in json.loads(photographs)]
    probabilities: Any = classify(faces)
    times = []
    for _ in range(ROUNDS):
        began = time.process_time()
        probabilities = classify(faces)
        times.append(time.process_time() - began)
    began = time.process_time()
    for face in faces[:SINGLE]:
        library.predict(face, detect=False, **options)
    np.savez(
        output,
        first=first,
        first_cpu=first_cpu,
        batched=len(faces) / min(times),
        single=(time.process_time() - began) / SINGLE,
        faces=probabilities,
        labeled=classify(list(np.load(labeled_file))),
        photographs=np.concatenate([each.probabilities for each in found]),
        boxes=np.concatenate([each.boxes for each in found]),
    )


def _library(name: str, precision: str) -> tuple[Any, dict[str, Any], Any]:
    """Import a library; return it, its options, and how it classifies a list of faces in batches."""
    if name == "qcs-fer":
        import qcs
        from qcs.engine import classify

        model: list[Any] = []

        def classified(faces: list[Any]) -> Any:
            model[:] = model or [qcs.load_model("qcs_small")]
            return classify(model[0], faces).probabilities

        return qcs, {"device": "cpu"}, classified
    import qcs_runtime

    return qcs_runtime, {"precision": precision}, qcs_runtime.Classifier(precision, threads=1)


if __name__ == "__main__":
    main(*sys.argv[1:])
