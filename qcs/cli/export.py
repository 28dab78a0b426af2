"""Exporting a weights file from the command line, with what came of it printed."""

from __future__ import annotations

from rich.console import Console
from timm.data import resolve_model_data_config
from torch import randn

from qcs.export.formats import Export, check_options, default_path, export_model, load_export
from qcs.export.latency import measure_latency
from qcs.export.quantize import calibration_images
from qcs.export.tolerance import TOLERANCE
from qcs.models import CrossSimilarityNetwork, load_model

BATCHES = (1, 32)


def export_weights(
    weights: str, format: str, output: str | None, precision: str, calibration: str | None, console: Console
) -> Export:
    """Export a run or a weights file and print difference, size and latency.

    Raises:
        InputError: As `export_model`, or if weights or calibration images cannot be read.
        OSError: If the file cannot be written.
    """
    check_options(format, precision, calibration is not None)
    model = load_model(weights)
    images = calibration_images(calibration, model) if calibration is not None else None
    path = output or default_path(model, format, precision)
    done = export_model(model, path, format=format, precision=precision, calibration=images)
    _say(console, f"wrote {done.path} ({done.size / 1e6:.1f} MB; {done.folded} batch norms folded)")
    found = done.difference
    _say(
        console,
        f"largest difference {found.largest:.2g} on logits up to {found.scale:.2g} "
        f"(accepted: {TOLERANCE[precision] * found.scale:.2g}), same class for {found.same_class:.1%}",
    )
    _print_latency(done, model.inference_model(), console)
    return done


def _print_latency(done: Export, model: CrossSimilarityNetwork, console: Console) -> None:
    run = load_export(done.path).run
    shape = resolve_model_data_config(model)["input_size"]
    for batch in BATCHES:
        took = measure_latency(model, run, randn(batch, *shape))
        _say(
            console,
            f"batch {batch}: {took.exported * 1e3:.1f} ms, eager PyTorch {took.eager * 1e3:.1f} ms, "
            f"{took.ratio:.2f} times as fast",
        )


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
