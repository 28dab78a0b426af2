"""Compare every export with eager PyTorch: difference, accuracy, size and latency, as a table and as JSON.

`python -m benchmarks.export --data FER.npz --run RUN --output export.json`, on an idle machine.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import cpuinfo
import torch
from timm.data import resolve_model_data_config
from torch.utils.data import DataLoader

import qcs
from benchmarks.ferplus.looks import look
from benchmarks.ferplus.run import RESULTS
from qcs.data import eval_transform, read
from qcs.data.dataset import LabeledImages
from qcs.export import FORMATS, export_model, load_export
from qcs.export.latency import eager, interleaved
from qcs.export.loaded import Run
from qcs.export.quantize import calibration_images
from qcs.files import sha256, write_text
from qcs.models import CrossSimilarityNetwork
from qcs.models.weights import find_weights

BATCHES = (1, 32)
PACKAGES = ("torch", "onnxruntime", "openvino", "nncf")
Row = dict[str, Any]


def with_statistics(name: str, data: str) -> CrossSimilarityNetwork:
    """Return a fresh network with running statistics of real images."""
    torch.manual_seed(0)
    model = cast(CrossSimilarityNetwork, qcs.create_model(name)).inference_model()
    images = calibration_images(data, model)
    with torch.no_grad():
        for start in range(0, 64, 16):
            model.train()(images[start : start + 16])
    return model.eval()


def measure(model: CrossSimilarityNetwork, data: str, seconds: float, test: LabeledImages | None) -> list[Row]:
    """Return a row for eager PyTorch and one for every format in each of its precisions.

    Args:
        model: The network.
        data: Images for calibration.
        seconds: Approximate timing of each batch size, in seconds.
        test: Images to measure the accuracy on; None for an untrained network.
    """
    network = model.inference_model().eval()
    calibration = calibration_images(data, model)
    runs: dict[str, Run] = {"eager fp32": eager(network)}
    rows: dict[str, Row] = {"eager fp32": {"size": sum(4 * p.numel() for p in network.parameters())}}
    with tempfile.TemporaryDirectory() as folder:
        for format, writer in FORMATS.items():
            for precision in writer.PRECISIONS:
                path = Path(folder) / f"{format}-{precision}{writer.SUFFIX}"
                given = calibration if precision == "int8" else None
                done = export_model(model, path, format=format, precision=precision, calibration=given)
                name = f"{format} {precision}"
                runs[name] = load_export(path).run
                rows[name] = {"size": done.size, **asdict(done.difference), "folded": done.folded}
    shape = resolve_model_data_config(model)["input_size"]
    for batch in BATCHES:
        medians = interleaved(runs, torch.randn(batch, *shape).numpy(), seconds)
        for name, median in medians.items():
            rows[name][f"seconds_{batch}"] = median
            rows[name][f"ratio_{batch}"] = medians["eager fp32"] / median
    if test is not None:
        for name, run in runs.items():
            rows[name]["accuracy"] = accuracy(run, test)
    architecture = model.pretrained_cfg["architecture"]
    return [{"model": architecture, "export": name, **row} for name, row in rows.items()]


def accuracy(run: Run, images: LabeledImages) -> float:
    """Return the accuracy on the images, in [0, 1]."""
    batches: Any = DataLoader(images, batch_size=64)
    correct = sum(int((run(x.numpy()).argmax(1) == y.numpy()).sum()) for x, y in batches)
    return correct / len(images)


def table(rows: list[Row]) -> str:
    """Return the rows in Markdown; latency in milliseconds with the speedup over eager PyTorch."""
    header = ["network", "export", "MB", "largest difference", "accuracy", *(f"batch {n}, ms" for n in BATCHES)]
    lines = [header, ["---"] * len(header)]
    for row in rows:
        apart = f"{row['largest']:.2g} of {row['scale']:.2g}" if "largest" in row else ""
        correct = f"{row['accuracy']:.2%}" if "accuracy" in row else ""
        took = [f"{row[f'seconds_{n}'] * 1e3:.2f} ({row[f'ratio_{n}']:.2f}×)" for n in BATCHES]
        lines.append([row["model"], row["export"], f"{row['size'] / 1e6:.1f}", apart, correct, *took])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Measure a trained small network and a fresh `qcs_ir50`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="images with training and test split, as qcs.data.read takes")
    parser.add_argument("--run", required=True, help="run folder or weights file of a small network trained on them")
    parser.add_argument("--output", default="export.json", help="file to write")
    parser.add_argument(
        "--seconds", type=float, default=30, help="approximate timing per batch size, in seconds; at least three rounds"
    )
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    trained = qcs.load_model(options.run)
    test = read(options.data)["test"].with_classes(trained.class_names)
    test = test.with_transform(eval_transform(resolve_model_data_config(trained)))
    with look(RESULTS, "benchmarks.export", sha256(find_weights(options.run)), "exported formats: test") as seen:
        rows = measure(trained, options.data, options.seconds, test)
        seen.update({row["export"]: row["accuracy"] for row in rows})
    rows += measure(with_statistics("qcs_ir50", options.data), options.data, options.seconds, None)
    about = {"cpu": cpuinfo.get_cpu_info()["brand_raw"], "threads": options.threads}
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    write_text(Path(options.output), json.dumps({**about, "versions": versions, "rows": rows}, indent=2) + "\n")
    print("; ".join([about["cpu"], f"{options.threads} threads", *(f"{k} {v}" for k, v in versions.items())]))
    print(table(rows))


if __name__ == "__main__":
    main()
