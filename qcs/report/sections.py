"""Compute the sections of the report on one run."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from qcs import visualize
from qcs.data.manifest import manifest
from qcs.engine.evaluation import Evaluation
from qcs.engine.prediction_file import Predictions
from qcs.engine.reliability import reliability, risk_coverage
from qcs.engine.run_folder import RunFolder, best_of
from qcs.engine.training.settings import setting_text
from qcs.errors import InputError
from qcs.models import load_model
from qcs.report.figures import mean_face_attention
from qcs.report.gather import Run, main_result
from qcs.report.groups import compare_groups
from qcs.report.inline_images import face_url, inline_svg, square_pixels
from qcs.report.statistics import accuracy_of, balanced_accuracy, bootstrap, proportion
from qcs.report.text import duration, number, percent

ERRORS = 24  # faces in the gallery of errors
PER_CLASS = 10  # faces of each class that are compared in the figure of attention
FACES = 8  # faces in that figure, one of each class
SIDE = 96  # pixels: side of a face in that figure

TITLES = {
    "curves": "Curves",
    "classes": "Classes",
    "confusion": "Confusion",
    "calibration": "Calibration",
    "abstention": "Abstention",
    "groups": "Groups",
    "errors": "Errors",
    "attention": "Attention",
    "data": "Data",
    "settings": "Settings",
}


def run_context(run: Run, anchor: str) -> dict[str, Any]:
    """Return the template variables of a run; unavailable sections are empty.

    Args:
        run: The run.
        anchor: Id of its element on the page.
    """
    found = main_result(run)
    parts: dict[str, Any] = {
        **dict.fromkeys(TITLES),
        "id": anchor,
        "name": run.name,
        "about": _about(run),
        "figures": _figures(run, found),
        "curves": _curves(run),
        "settings": run.config,
        "data": _data(run),
    }
    if found:
        result = found[1]
        parts |= {"set": found[0], "classes": _classes(result), "class_names": result.classes}
        parts["confusion"] = _confusion(result)
    if run.predictions:
        parts |= {"calibration": _calibration(run.predictions, run.name), "groups": _groups(run)}
        parts["abstention"] = _abstention(run.predictions, run.name)
        parts |= {"errors": _errors(run), "wrong": int((~run.predictions.correct).sum())}
    if run.images and run.predictions:
        parts["attention"] = run.attempt(lambda: _attention(run), None)
    parts["missing"] = run.missing
    parts["sections"] = [(name, title) for name, title in TITLES.items() if parts.get(name)]
    return parts


def curves(histories: dict[str, list[dict[str, float]]], of: str) -> list[Markup]:
    """Draw loss and accuracy over the epochs, one SVG each."""
    return [
        inline_svg(visualize.loss_curves(histories, (measure,)), f"{measure} over the epochs of {of}")
        for measure in ("loss", "accuracy")
    ]


def _about(run: Run) -> str:
    versions = run.record.get("versions")
    made = f", with {setting_text(versions)}" if isinstance(versions, dict) else ""
    return f"{run.config.get('model')} on {run.data}, seed {run.config.get('seed')}{made}"


def _figures(run: Run, found: tuple[str, Evaluation] | None) -> list[dict[str, str]]:
    figures = []

    def add(name: str, value: str, more: str = "") -> None:
        figures.append({"name": name, "value": value, "range": more})

    if found:
        split, result = found
        predictions = run.predictions
        right = int(np.trace(result.confusion))
        exact = accuracy_of(predictions) if predictions else proportion(right, result.images)
        add(
            f"{split.capitalize()} accuracy", percent(result.accuracy), f"{percent(exact.low)} to {percent(exact.high)}"
        )
        if predictions:
            spread = bootstrap(balanced_accuracy(predictions), len(predictions.labels), predictions.subjects)
            more = f"{percent(spread.low)} to {percent(spread.high)}"
        else:
            more = f"mean over {len(result.per_class)} classes"
        add("Balanced accuracy", percent(result.balanced_accuracy), more)
        if predictions:
            add("Calibration error", percent(reliability(predictions).error), "expected (ECE)")
        add(f"{split.capitalize()} images", number(result.images), f"{number(result.images - right)} errors")
    if run.history:
        best = best_of(run.history, run.config.get("select_on", "accuracy"))
        add("Best epoch", f"{best['epoch']:.0f}", f"of {len(run.history)}")
        if "seconds" in run.history[-1]:
            rate = run.history[-1].get("images_per_second")
            add("Training", duration(run.history[-1]["seconds"]), f"{rate:,.0f} images/s" if rate else "")
    return figures


def _curves(run: Run) -> list[Markup]:
    return run.attempt(lambda: curves({run.name: run.history}, run.name), []) if run.history else []


def _classes(result: Evaluation) -> list[dict[str, Any]]:
    counts = result.confusion
    rows = []
    for i, name in enumerate(result.classes):
        right, images, taken = int(counts[i, i]), int(counts[i].sum()), int(counts[:, i].sum())
        wrong = np.where(np.arange(len(counts)) == i, 0, counts[i])
        most = int(wrong.argmax())
        rows.append(
            {
                "name": name,
                "images": images,
                "recall": proportion(right, images) if images else None,
                "precision": right / taken if taken else None,
                "f1": 2 * right / (images + taken) if images else None,
                "taken_for": f"{result.classes[most]} ({number(wrong[most])})" if wrong[most] else "–",
            }
        )
    return rows


def _confusion(result: Evaluation) -> list[dict[str, Any]]:
    def cell(count: int, images: int) -> dict[str, Any]:
        part = count / images if images else None
        return {"count": count, "share": part, "text": "" if not count else f"{100 * count / images:.1f}"}

    rows = zip(result.classes, result.confusion.tolist(), strict=True)
    return [{"name": name, "cells": [cell(count, sum(row)) for count in row]} for name, row in rows]


def _calibration(predictions: Predictions, name: str) -> dict[str, Any]:
    found = reliability(predictions)
    confidence, accuracy = float(predictions.confidence.mean()), float(predictions.correct.mean())
    gap = confidence - accuracy
    tendency = "overconfident" if gap > 0.01 else "underconfident" if gap < -0.01 else "well calibrated on average"
    return {
        "figure": inline_svg(
            visualize.reliability_diagram(found.accuracy, found.counts),
            f"Reliability of {name}: expected calibration error {percent(found.error)}",
        ),
        "summary": f"The network is {tendency}: its mean confidence is {percent(confidence)}, its accuracy "
        f"{percent(accuracy)}. The expected calibration error is {percent(found.error)}.",
    }


def _abstention(predictions: Predictions, name: str) -> dict[str, Any]:
    found = risk_coverage(predictions.confidence, predictions.correct)
    half = float(found.risk[max(0, len(found.risk) // 2 - 1)])
    return {
        "figure": inline_svg(
            visualize.risk_coverage_curve(found.coverage, found.risk),
            f"Share of wrong answers of {name} by the share of images answered",
        ),
        "summary": f"With every image answered, {percent(float(found.risk[-1]))} of the answers are wrong; with the "
        f"more confident half of them answered, {percent(half)}. The mean over all shares, the area under the curve, "
        f"is {percent(found.area)}.",
    }


def _groups(run: Run) -> dict[str, Any]:
    assert run.predictions is not None
    found = {column: compare_groups(run.predictions, groups) for column, groups in run.groups.items()}
    run.missing += [
        f"all test images belong to one group of {column}" for column, results in found.items() if not results
    ]
    return {column: results for column, results in found.items() if results}


def _errors(run: Run) -> list[dict[str, Any]]:
    predictions = run.predictions
    assert predictions is not None
    wrong = np.flatnonzero(~predictions.correct)
    surest = wrong[np.argsort(-predictions.confidence[wrong], kind="stable")][:ERRORS]

    def picture(row: int) -> str | None:
        images = run.images
        return run.attempt(lambda: face_url(images.image(row)), None) if images else None

    return [
        {
            "face": picture(row),
            "name": str(predictions.names[row]),
            "truth": predictions.classes[predictions.labels[row]],
            "predicted": predictions.classes[predictions.predicted[row]],
            "confidence": float(predictions.confidence[row]),
        }
        for row in surest.tolist()
    ]


def _attention(run: Run) -> Markup | None:
    """Draw the attention maps of a network with a cross part; None for a base network."""
    assert run.images is not None
    model = load_model(RunFolder(run.path).best)
    if model.branches == 1:
        return None
    labels = run.images.labels
    kinds = [label for label in np.unique(labels).tolist() if (labels == label).sum() > 1]
    if len(kinds) < 2:
        raise InputError("attention needs at least two test images of each of two classes")
    rows = np.concatenate([np.flatnonzero(labels == label)[:PER_CLASS] for label in kinds])
    faces = run.images.subset(rows)
    first = [int(np.flatnonzero(faces.labels == label)[0]) for label in kinds][:FACES]
    weights = mean_face_attention(model, faces, first)
    figure = visualize.attention_rows(
        np.stack([square_pixels(faces.image(row), SIDE) for row in first]),
        {f"level {level}": each for level, each in enumerate(weights, start=1)},
        column_titles=[faces.classes[faces.labels[row]] for row in first],
    )
    return inline_svg(figure, f"Attention of {run.name} over faces, at {len(weights)} levels")


def _data(run: Run) -> dict[str, Any]:
    sets = run.record["images"]
    names = list(dict.fromkeys(name for counts in sets.values() for name in counts))
    rows = {name: [counts.get(name, 0) for counts in sets.values()] for name in names}
    rows["all"] = [sum(counts.values()) for counts in sets.values()]
    chosen = run.record.get("model_chosen_on", "unknown images")
    summary = f"Trained on {run.config.get('data')}; the weights are those of the best epoch on {chosen}."
    hashes = run.attempt(partial(_hashes, run.source), None) if run.source else None
    return {"sets": list(sets), "rows": rows, "summary": summary, "hashes": hashes}


def _hashes(path: Path) -> dict[str, str]:
    """Return the SHA-256 of a file and of its splits; none for a folder, which may take minutes to read."""
    if not path.is_file():
        return {}
    now = path.stat()
    return _hashes_of(path, now.st_mtime_ns, now.st_size)


@cache
def _hashes_of(path: Path, changed: int, size: int) -> dict[str, str]:
    """Compute the hashes once for all runs, and again if the file has changed."""
    found = manifest(path)
    return {path.name: found["files"][path.name], **found.get("splits", {})}
