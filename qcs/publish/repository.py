"""Writing the files of a repository: everything needed to use the weights and to verify them."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from timm.data import resolve_model_data_config
from torch import Tensor

from qcs.engine.evaluation import Evaluation, wilson
from qcs.errors import InputError
from qcs.files import replacing, sha256, writing
from qcs.models import Classifier
from qcs.models._hub import CONFIG, OURS, WEIGHTS
from qcs.models.factory import create_model, load_model
from qcs.models.golden import GOLDEN_INPUT, check_golden, golden_logits, image_size
from qcs.models.weights import WEIGHT_SOURCES
from qcs.publish.card import model_card
from qcs.publish.record import Record, read_record
from qcs.version import __version__

GOLDEN = "golden.safetensors"
PREPROCESSOR = "preprocessor_config.json"
CARD = "README.md"
RESAMPLE = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}  # Pillow's numbers


@dataclass(frozen=True)
class Publication:
    """A network to publish.

    Attributes:
        repository: `ORG/NAME`.
        model: The network, in evaluation mode.
        record: Its weights, and what the files of the run state about them.
        license: The license of the weights; None if it is not stated.
    """

    repository: str
    model: Classifier
    record: Record
    license: str | None

    @classmethod
    def of(cls, source: str | Path, repository: str, license: str | None = None) -> Publication:
        """Read the weights to publish under a name.

        Args:
            source: What names the weights, see `qcs.models.find_weights`; a run folder also gives the results.
            repository: `ORG/NAME`.
            license: The license of the weights; None takes the one they state.

        Raises:
            InputError: If there are no weights, they are corrupt, or they do not give their golden logits.
        """
        record = read_record(source)
        model = load_model(record.weights)
        if golden := record.info.get("golden"):
            check_golden(model, golden["logits"], *image_size(model))
        return cls(repository, model, record, license or model.pretrained_cfg.get("license"))


def write_repository(publication: Publication, folder: Path) -> None:
    """Write the files of a repository into a new folder, complete or not at all, and check that they load.

    Args:
        publication: What to publish.
        folder: The folder; it may exist if it is empty.

    Raises:
        InputError: If the folder holds files.
        OSError: If it cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not an empty folder; choose another, or remove it")
    with writing(folder), replacing(folder) as unfinished:
        unfinished.mkdir(parents=True)
        _write_files(publication, unfinished)
        check_repository(unfinished)


def check_repository(folder: Path) -> float:
    """Load the network from the folder of a repository and compare its logits with the golden logits there.

    Args:
        folder: The folder, from `qcs push --dry-run` or downloaded.

    Returns:
        The largest difference of the logits.

    Raises:
        InputError: If the files do not belong together or are corrupt.
    """
    model = create_model(f"local-dir:{folder}", pretrained=True)
    return check_golden(model, read_golden(folder / GOLDEN).tolist(), *image_size(model))


def read_golden(path: Path) -> Tensor:
    """Return the golden logits (2, classes) of a repository.

    Raises:
        InputError: If the file is for an input that this version does not know.
    """
    with safe_open(path, "pt") as file:
        named = (file.metadata() or {}).get("input")
    if named != GOLDEN_INPUT:
        raise InputError(f"{path} is for the input {named!r}, this version knows {GOLDEN_INPUT!r}")
    return load_file(path)["logits"]


def _write_files(publication: Publication, folder: Path) -> None:
    shutil.copyfile(publication.record.weights, folder / WEIGHTS)
    golden = golden_logits(publication.model, *image_size(publication.model))
    save_file({"logits": golden}, folder / GOLDEN, metadata={"input": GOLDEN_INPUT})
    (folder / GOLDEN).chmod((folder / WEIGHTS).stat().st_mode)
    sums = {name: sha256(folder / name) for name in (WEIGHTS, GOLDEN)}
    _write_json(folder / CONFIG, _config(publication, sums))
    _write_json(folder / PREPROCESSOR, _preprocessor(publication.model))
    card = model_card(publication.repository, publication.model, publication.record, publication.license)
    (folder / CARD).write_text(card, encoding="utf-8")


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _config(publication: Publication, sums: dict[str, str]) -> dict[str, Any]:
    """Return the configuration of a repository: timm's, with a section of this library."""
    model, record = publication.model, publication.record
    elsewhere = (*WEIGHT_SOURCES, "architecture", "num_classes", "label_names", "license")
    cfg = {key: value for key, value in model.pretrained_cfg.items() if key not in elsewhere}
    if cfg.get("tag") == "untrained":
        del cfg["tag"]
    return {
        "architecture": model.pretrained_cfg["architecture"],
        "num_classes": model.num_classes,
        "num_features": model.num_features,
        "label_names": model.class_names,
        "model_args": model.resolved_args,
        "pretrained_cfg": {**cfg, **({"license": publication.license} if publication.license else {})},
        OURS: {
            "version": __version__,
            "sha256": sums,
            "scores": {split: _score(result) for split, result in record.scores.items()},
            "trained_on": record.data,
            "training": record.settings,
        },
    }


def _score(result: Evaluation) -> dict[str, Any]:
    return {
        "images": result.images,
        "accuracy": result.accuracy,
        "accuracy_95": list(wilson(result.correct, result.images)),
        "balanced_accuracy": result.balanced_accuracy,
    }


def _preprocessor(model: Classifier) -> dict[str, Any]:
    """Return the preprocessing under the names of Hugging Face's image processors."""
    data = resolve_model_data_config(model)
    channels, *size = data["input_size"]
    height, width = (round(side / data["crop_pct"]) for side in size)
    return {
        "do_convert_rgb": channels == 3,
        "do_resize": True,
        "size": {"height": height, "width": width},
        "resample": RESAMPLE[data["interpolation"]],
        "do_center_crop": True,
        "crop_size": {"height": size[0], "width": size[1]},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": data["mean"],
        "image_std": data["std"],
    }
