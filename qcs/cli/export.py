"""The command `qcs export`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from qcs.cli.shared import Weights, option, say

if TYPE_CHECKING:
    from qcs.export import Export
    from qcs.models import Classifier

BATCHES = (1, 32)  # sizes to measure the latency of


def export(
    weights: Weights,
    format: Annotated[str, typer.Option(help="onnx, openvino or torch-export.")] = "onnx",
    output: Annotated[
        str | None, option("File to write: .onnx, .xml or .pt2.", "NAME-PRECISION and the suffix of the format")
    ] = None,
    precision: Annotated[str, typer.Option(help="fp32, bf16 (not onnx) or int8 (openvino and onnx).")] = "fp32",
    calibration: Annotated[
        str | None, option("Images to calibrate int8 quantization with: data as for training.", "none")
    ] = None,
) -> None:
    """Export the inference network to another runtime, check it against PyTorch, and measure size and latency."""
    from qcs.engine.face_crop import trained_crop
    from qcs.export.formats import check_options, default_path, export_model
    from qcs.export.quantize import calibration_images
    from qcs.models import find_weights, load_model

    check_options(format, precision, calibration is not None)
    path_of_weights = find_weights(weights)
    model = load_model(path_of_weights)
    images = calibration_images(calibration, model) if calibration is not None else None
    path = output or default_path(model, format, precision)
    crop = trained_crop(path_of_weights)
    done = export_model(model, path, format=format, precision=precision, calibration=images, face_crop=crop)
    _show(done, precision)
    _show_latency(done, model.inference_model())


def _show(done: Export, precision: str) -> None:
    from qcs.export.tolerance import TOLERANCE

    found = done.difference
    say(f"wrote {done.path} ({done.size / 1e6:.1f} MB; {done.folded} batch norms folded)")
    say(
        f"largest difference {found.largest:.2g} on logits up to {found.scale:.2g} "
        f"(accepted: {TOLERANCE[precision] * found.scale:.2g}), same class for {found.same_class:.1%}"
    )


def _show_latency(done: Export, model: Classifier) -> None:
    from timm.data import resolve_model_data_config
    from torch import randn

    from qcs.export import load_export, measure_latency

    run = load_export(done.path).run
    shape = resolve_model_data_config(model)["input_size"]
    for batch in BATCHES:
        latency = measure_latency(model, run, randn(batch, *shape))
        say(
            f"batch {batch}: {latency.exported * 1e3:.1f} ms, eager PyTorch {latency.eager * 1e3:.1f} ms, "
            f"{latency.ratio:.2f} times as fast"
        )
