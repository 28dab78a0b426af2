"""Recompute every figure of the weights in the package from predictions, and compare them with the weights before.

The record is the source of the model card and of the pages: each figure there is in it.
"""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torchvision
from timm.data import resolve_model_data_config
from torchvision.transforms.v2 import functional as TF

import qcs
from benchmarks.ferplus import copies
from benchmarks.ferplus.corruptions import CORRUPTIONS, OCCLUSIONS
from benchmarks.ferplus.data import Data
from benchmarks.ferplus.estimates import at_temperature, best_temperature, chosen, estimates, mean_of
from benchmarks.ferplus.looks import look
from benchmarks.ferplus.measure import BATCH, probabilities, with_corruption
from benchmarks.ferplus.partners import accuracies
from qcs.data import LabeledImages
from qcs.engine.prediction_file import Predictions
from qcs.errors import InputError
from qcs.files import sha256, write_text
from qcs.models import CrossSimilarityNetwork, create_model, load_model
from qcs.models.golden import check_golden
from qcs.models.weights import EMBEDDED, read_config
from qcs.report.statistics import bootstrap, mcnemar

FOLDER = "weights"  # of the records, in the folder of results
RARE = ("disgust", "fear", "contempt")
NAMES = ("qcs_small.ferplus",)  # the first is audited first, since the others need its record
NAME = "qcs_small.ferplus"  # what the other weights in the package are compared with
FORMER_COMMIT = "b2044bb"  # the last commit with the `qcs_small` before
FORMER_ARGS: dict[str, Any] = {"depths": (2, 2, 2, 1)}  # of the backbone `ir_small` at that commit; the file lacks them
CALIBRATED = ("validation", "test", "test, no copies")  # measured at the temperature too, beside muxspace
OTHERS = "other people"  # of muxspace: those whose images were not used to choose weights
Shown = dict[str, Predictions]


def audit(data: Data, results: Path, command: str, former: Path | None = None, name: str = NAMES[0]) -> Path:
    """Measure weights in the package and those before them, and write the record.

    Of weights that have a record of their own, only the predictions for test images are computed again.

    Args:
        data: The images.
        results: Folder of the results; the record goes into its folder `weights`.
        command: What asks, for the log of looks at the test set.
        former: File of the weights before; None measures the weights in the package alone.
        name: `architecture.tag` of the weights.

    Returns:
        The file written.
    """
    file = EMBEDDED / f"{name}.safetensors"
    networks = {"now": (load_model(file), file)}
    if former is not None:
        networks["former"] = (former_network(former) if name == NAME else load_model(former), former)
    record: dict[str, Any] = {
        "name": name,
        "former": None if former is None else former_name(name),
        "data": dict(data.hashes("votes")),
        "copies": copies.counts(data.official),
        "lineage": lineage(read_config(file)["info"]["trained_with"]),
        "networks": {},
    }
    shown: dict[str, Shown] = {}
    known = {each["networks"]["now"]["sha256"]: each["networks"]["now"] for each in read_records(results)}
    for which, (model, path) in networks.items():
        measured = known.get(sha256(path)) if which == "former" else None
        what = "test" if measured else "test and muxspace, all measures"
        with look(results, command, sha256(path), f"audit of shipped weights: {what}") as seen:
            if measured:
                shown[which] = {"test": predict(model, data.official["test"])}
            else:
                shown[which] = predictions(model, data)
                measured = described(model, path, shown[which], data)
            record["networks"][which] = measured
            seen.update(measured["sets"]["test"])
    if "former" in shown:
        record["paired"] = {
            "all classes": paired(shown["now"]["test"], shown["former"]["test"]),
            "rare classes": paired(shown["now"]["test"], shown["former"]["test"], RARE),
        }
    record["versions"] = {package.__name__: package.__version__ for package in (qcs, torch, torchvision, np)}
    record["versions"]["python"] = platform.python_version()
    return write_text(results / FOLDER / f"{name}.json", json.dumps(record, indent=1) + "\n")


def predictions(model: CrossSimilarityNetwork, data: Data) -> Shown:
    """Return the predictions for every set of images, by name; with test-time augmentation under `..., TTA`."""
    test, elsewhere = data.official["test"], shared(model, data.muxspace)
    found = {"validation": predict(model, data.official["validation"])}
    for name, images in (("test", test), ("muxspace", elsewhere)):
        found[name], found[f"{name}, TTA"] = (predict(model, images, tta) for tta in (False, True))
    for suffix in ("", ", TTA"):
        found[f"test, no copies{suffix}"] = chosen(found[f"test{suffix}"], data.has_no_copy)
        for source in sorted({*data.sources.values()} - {""}):
            own = np.array([data.sources[name] == source for name in elsewhere.names.tolist()])
            found[f"muxspace, {source}{suffix}"] = chosen(found[f"muxspace{suffix}"], own)
            found[f"muxspace, {source}, {OTHERS}{suffix}"] = chosen(
                found[f"muxspace{suffix}"], own & ~data.for_selection
            )
        found[f"muxspace, {OTHERS}{suffix}"] = chosen(found[f"muxspace{suffix}"], ~data.for_selection)
    found["test, resized without rounding"] = without_rounding(model, test)
    changes = (*CORRUPTIONS, *OCCLUSIONS)
    return found | {f"test, {name}": predict(model, with_corruption(test, name)) for name in changes}


def described(model: CrossSimilarityNetwork, path: Path, shown: Shown, data: Data) -> dict[str, Any]:
    """Return the figures of a network: of every set, and at the temperature that fits the validation images."""
    temperature = best_temperature(shown["validation"])
    plain = [name for name in shown if name in CALIBRATED or (name.startswith("muxspace") and "TTA" not in name)]
    return {
        "sha256": sha256(path),
        "sets": {name: estimates(each) for name, each in shown.items()},
        "temperature": temperature,
        "at_temperature": {name: estimates(at_temperature(shown[name], temperature)) for name in plain},
        "corrupted": corrupted_accuracy(shown),
        "partners": accuracies(model, data.official["test"]) if model.branches > 1 else None,
    }


def corrupted_accuracy(shown: Shown) -> dict[str, list[float]]:
    """Return the mean accuracy over the kinds of corruption, the occlusions that no training saw, and both.

    Each is `[value, low, high]`; the bootstrap draws the same images for every kind.
    """
    groups = {"corruptions": tuple(CORRUPTIONS), "unseen occlusions": tuple(OCCLUSIONS)}
    found = {}
    for name, kinds in {**groups, "all": (*CORRUPTIONS, *OCCLUSIONS)}.items():
        each = bootstrap(
            mean_of(np.mean([shown[f"test, {kind}"].correct for kind in kinds], axis=0)), len(shown["test"].labels)
        )
        found[name] = [each.value, each.low, each.high]
    return found


def predict(model: CrossSimilarityNetwork, images: LabeledImages, tta: bool = False) -> Predictions:
    """Return the predictions of the base network for images of the network's classes."""
    return _of(images, probabilities(model, images, tta), model)


def shared(model: CrossSimilarityNetwork, images: LabeledImages) -> LabeledImages:
    """Return the images of the network's classes; the network has all classes of the data of this benchmark."""
    return images.with_classes(model.class_names)


@torch.inference_mode()
def without_rounding(model: CrossSimilarityNetwork, images: LabeledImages) -> Predictions:
    """Predict from images that are resized in floating point, where the usual transform rounds to whole numbers."""
    cfg = resolve_model_data_config(model)
    (_, height, width), inner = cfg["input_size"], round(cfg["input_size"][1] / cfg["crop_pct"])
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images.images]))[:, None].float() / 255
    resized = TF.resize(pixels, [inner, inner], antialias=True)
    batch = (TF.center_crop(resized, [height, width]) - cfg["mean"][0]) / cfg["std"][0]
    found = torch.cat([model.eval()(part).softmax(-1) for part in batch.split(BATCH)]).numpy()
    return _of(images, found, model)


def paired(now: Predictions, former: Predictions, classes: tuple[str, ...] | None = None) -> dict[str, Any]:
    """Return McNemar's exact test on the same images, or on those of some classes."""
    own = np.isin(now.labels, [now.classes.index(name) for name in classes or now.classes])
    found = mcnemar(now.correct[own], former.correct[own])
    return {"images": int(own.sum()), "gained": found.only_first, "lost": found.only_second, "p": found.p}


def lineage(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the networks that the weights come from, each once and the first trained first.

    Each has `model`, `minutes` (of older files the time budget), `teacher_share`, whether parts of training images were
    erased, whether its backbone began pretrained, and the positions of its `init` (None for none) and `teachers` in the
    list.
    """
    order: list[dict[str, Any]] = []
    entries: list[dict[str, Any]] = []

    def add(run: dict[str, Any]) -> int:
        if run in order:
            return order.index(run)
        init = add(run["init"]) if run.get("init") else None
        teachers = [add(teacher) for teacher in run.get("teachers", ())]
        order.append(run)
        entries.append(
            {
                "model": run["model"],
                "pretrained_backbone": run.get("pretrained_backbone", False),
                "minutes": run.get("trained_minutes", run["minutes"]),
                "erasing": run["erasing"] is not None,
                "teacher_share": run.get("teacher_share") if teachers else None,
                "init": init,
                "teachers": teachers,
            }
        )
        return len(order) - 1

    add(settings)
    return entries


def former_name(name: str) -> str:
    """Return what a page calls the weights that those of a name are compared with."""
    return "the weights before" if name == NAME else f"`{NAME.partition('.')[0]}`"


def former_file(name: str, folder: Path) -> Path:
    """Return the weights that those of a name are compared with: `qcs_small`, or for it its own predecessor.

    The predecessor is written into `folder` from the history of the repository.

    Raises:
        InputError: If the history does not have them, as in a shallow clone.
    """
    if name != NAME:
        return EMBEDDED / f"{NAME}.safetensors"
    inside = f"{FORMER_COMMIT}:qcs/weights/{name}.safetensors"
    done = subprocess.run(["git", "show", inside], capture_output=True, cwd=Path(__file__).parent, check=False)
    if done.returncode:
        raise InputError(f"the history has no {inside}; fetch it whole, or name the file with --former")
    path = folder / f"{name}.former.safetensors"
    path.write_bytes(done.stdout)
    return path


def former_network(path: Path) -> CrossSimilarityNetwork:
    """Rebuild the weights before; their file relies on defaults of their time, so its golden logits are checked.

    Raises:
        InputError: If the network that is rebuilt gives other logits than when it was measured.
    """
    config = read_config(path)
    cfg = {key: tuple(value) if isinstance(value, list) else value for key, value in config["pretrained_cfg"].items()}
    args = {**config["model_args"], "backbone_args": FORMER_ARGS}
    model = create_model(config["architecture"], pretrained_cfg=cfg, checkpoint_path=path, **args).eval()
    check_golden(model, config["info"]["golden"]["logits"], *cfg["input_size"][:2])
    return cast(CrossSimilarityNetwork, model)


def read_records(results: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a folder of results."""
    for path in sorted((results / FOLDER).glob("*.json")):
        yield json.loads(path.read_text(encoding="utf-8"))


def _of(images: LabeledImages, found: Any, model: CrossSimilarityNetwork) -> Predictions:
    return Predictions(found, images.labels, images.names, tuple(model.class_names), images.subjects)
