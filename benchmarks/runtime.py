"""Measure qcs-runtime beside qcs-fer with the extra `faces`: installation, start, speed, and the largest difference.

`python -m benchmarks.runtime DIST --data FOLDER`, where DIST holds both wheels: `pip wheel --no-deps -w DIST .` and
`pip wheel --no-deps -w DIST ./runtime`. Each is installed into an environment of its own, where a program reads the
photographs in FOLDER/photos, 256 synthetic faces and the validation images of FOLDER/ferplus.npz, on one core. The
record has the load of the machine before and after; wall times are worth reading only if it was idle.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.installation import measure
from qcs.data import read, synthetic_faces
from qcs.files import write_text
from qcs.models import load_model

OUTPUT = Path(__file__).with_suffix(".json")
WEIGHTS = "qcs_small"
FACES, SIDE = 256, 48
STARTS = 2  # processes, of which the fastest counts

WORKER = Path(__file__).with_name("runtime_worker.py")


def answers(python: Path, name: str, precision: str, inputs: list[str]) -> dict[str, Any]:
    """Run a library in its environment, from an empty folder; return its times and probabilities."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    with tempfile.TemporaryDirectory() as folder:
        best: dict[str, Any] = {}
        for _ in range(STARTS):
            command = [str(python), str(WORKER), name, precision, *inputs, "out.npz"]
            subprocess.run(command, cwd=folder, env=environment, check=True)
            with np.load(f"{folder}/out.npz") as stored:
                found = dict(stored)
            times = {"first": min, "first_cpu": min, "single": min, "batched": max}
            best = {**found, **{key: pick(found[key], best.get(key, found[key])) for key, pick in times.items()}}
    return best


def difference(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    """Return the largest difference of two probabilities."""
    return float(np.abs(a - b).max())


def main() -> None:
    """Measure and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheels", type=Path, help="folder with both wheels")
    parser.add_argument("--data", type=Path, required=True, help="folder with ferplus.npz and photos")
    parser.add_argument("--environments", type=Path, default=Path("runs/runtime"), help="new folder")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="file to write")
    options = parser.parse_args()
    load = [os.getloadavg()[0]]
    folder = options.environments.resolve()
    folder.mkdir(parents=True)
    photographs = [str(path.resolve()) for path in sorted((options.data / "photos").iterdir())]
    np.save(folder / "faces.npy", synthetic_faces(FACES, size=SIDE, seed=1).images)
    labeled = read(options.data / "ferplus.npz")["validation"].with_classes(load_model(WEIGHTS).class_names)
    np.save(folder / "labeled.npy", [np.asarray(labeled.image(row)) for row in range(len(labeled))])
    inputs = [str(folder / "faces.npy"), str(folder / "labeled.npy"), json.dumps(photographs)]
    rows: dict[str, dict[str, Any]] = {}
    found: dict[str, dict[str, Any]] = {}
    for name, extra, precisions in (("qcs-fer", "faces", ["fp32"]), ("qcs-runtime", "", ["fp32", "int8"])):
        (wheel,) = options.wheels.resolve().glob(f"{name.replace('-', '_')}-*.whl")
        installed = measure(wheel, extra, folder / name)
        rows[name] = {
            "megabytes": round(installed.megabytes, 1),
            "of PyTorch": round(installed.torch, 1),
            "packages": installed.packages,
            "wheel megabytes": round(wheel.stat().st_size / 1e6, 1),
        }
        for precision in precisions:
            own = answers(folder / name / "bin/python", name, precision, inputs)
            found[f"{name} {precision}"] = own
            rows[name].setdefault("validation accuracy", {})[precision] = round(
                float((own["labeled"].argmax(1) == labeled.labels).mean()), 4
            )
            rows[name][precision] = {
                "seconds to the first face": round(float(own["first"]), 2),
                "seconds to the first face, processor time": round(float(own["first_cpu"]), 2),
                "milliseconds per face, one at a time, processor time": round(1e3 * float(own["single"]), 2),
                "faces per second of processor time, in batches": round(float(own["batched"])),
            }
    reference = found.pop("qcs-fer fp32")
    differences = {
        name: {part: difference(own[part], reference[part]) for part in ("photographs", "faces", "labeled", "boxes")}
        for name, own in found.items()
    }
    counts = {
        "photographs": len(photographs),
        "detected faces": len(reference["boxes"]),
        "synthetic faces": FACES,
        "validation images": len(labeled),
    }
    record = {
        "command": "python -m benchmarks.runtime DIST --data FOLDER",
        "load average": [round(each, 2) for each in (*load, os.getloadavg()[0])],
        "idle": max(*load, os.getloadavg()[0]) < 1.5,
        "images": counts,
        "libraries": rows,
        "largest difference from qcs-fer": differences,
    }
    print(write_text(options.output, json.dumps(record, indent=1) + "\n"))


if __name__ == "__main__":
    main()
