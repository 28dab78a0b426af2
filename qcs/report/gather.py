"""Collect the results of runs from their files, and from their test images if these are available."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from timm.data import resolve_model_data_config
from torch import Tensor

from qcs.data import read
from qcs.data.dataset import LabeledImages
from qcs.engine.eval_data import evaluation_batches
from qcs.engine.evaluation import Evaluation, evaluate
from qcs.engine.prediction import default_device
from qcs.engine.prediction_file import FILE, Predictions
from qcs.engine.run_folder import RunFolder
from qcs.errors import InputError
from qcs.models import load_model
from qcs.report.groups import Groups, read_groups

T = TypeVar("T")
Test = Callable[[dict[str, Any]], LabeledImages]


@dataclass(frozen=True)
class DataLocation:
    """Where the test images of the runs are now, and which list holds their groups.

    Attributes:
        data: Path of the data; None for the one in the settings of the run.
        image_root: Folder that paths in a list are relative to; None for the one in the settings.
        data_format: Format of the data; None for the one in the settings.
        groups: Columns of the list that hold groups, such as `gender`.
        group_list: A .csv list of groups; None for the data itself, if it is a .csv list.
    """

    data: str | None = None
    image_root: str | None = None
    data_format: str | None = None
    groups: tuple[str, ...] = ()
    group_list: str | None = None


@dataclass
class Run:
    """The results of one run.

    Attributes:
        name: Name of its folder, with parent folders as needed to be unique.
        path: The folder.
        record: The record of its start: settings under "config", image counts, versions.
        history: A record per epoch; empty if unavailable.
        results: Evaluation by split.
        predictions: Predictions for the test images; None if unavailable.
        images: The test images, in the order of the predictions; None if unavailable.
        source: Path of the data; None if unavailable.
        groups: Group of each test image, by column of the list.
        missing: A line for everything that cannot be shown, with the reason.
    """

    name: str
    path: Path
    record: dict[str, Any]
    history: list[dict[str, float]] = field(default_factory=list)
    results: dict[str, Evaluation] = field(default_factory=dict)
    predictions: Predictions | None = None
    images: LabeledImages | None = None
    source: Path | None = None
    groups: Groups = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    @property
    def config(self) -> dict[str, Any]:
        """Settings of the run."""
        return dict(self.record["config"])

    @property
    def data(self) -> str:
        """Name of the data, without its parent folders."""
        return Path(str(self.config.get("data", "unknown data"))).name

    def attempt(self, read: Callable[[], T], default: T) -> T:
        """Return `read()`; on an error, add its message to `missing` and return the default."""
        try:
            return read()
        except (InputError, OSError) as error:
            if (line := " ".join(str(error).split())) not in self.missing:  # many images may fail alike
                self.missing.append(line)
            return default


def gather(paths: Sequence[str | Path], location: DataLocation) -> list[Run]:
    """Collect the results of runs.

    Raises:
        InputError: If a folder holds no run, is given twice, or requested groups cannot be read.
    """
    folders = [Path(path) for path in paths]
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise InputError("a run is given twice; expected each once")
    known: dict[str, LabeledImages] = {}  # shared by runs on the same data

    def test_images(config: dict[str, Any]) -> LabeledImages:
        source = _source(config, location)
        key = repr(source)
        if key not in known:
            known[key] = _test_images(**source)
        return known[key]

    return [_run(folder, name, location, test_images) for folder, name in zip(folders, _names(folders), strict=True)]


def _run(folder: Path, name: str, location: DataLocation, test_images: Test) -> Run:
    files = RunFolder(folder)
    run = Run(name, folder, files.read_config())
    run.history = run.attempt(files.read_history, [])
    for split in ("validation", "test"):
        if split in run.record["images"] or split == "validation":
            found = run.attempt(partial(files.read_evaluation, split), None)
            run.results |= {split: found} if found else {}
    if "test" in run.results:
        _add_predictions(run, location, test_images)
    elif "test" not in run.record["images"]:
        run.missing.append(
            "the data has no test images; all results are on the validation images that selected the model"
        )
    return run


def _add_predictions(run: Run, location: DataLocation, test_images: Test) -> None:
    """Add predictions, test images and groups to a finished run."""
    images = run.attempt(lambda: test_images(run.config), None)
    run.predictions = run.attempt(lambda: _saved_predictions(run.path / FILE, run.results["test"]), None)
    if images and not run.predictions:
        run.predictions = run.attempt(lambda: _computed_predictions(run.path, images, run.results["test"]), None)
    if predictions := run.predictions:
        run.images = images and run.attempt(lambda: _matched(images, predictions), None)
        groups = partial(_groups, run.config, location, predictions)
        run.groups = groups() if location.groups or location.group_list else run.attempt(groups, {})
    if run.images:
        run.source = Path(_source(run.config, location)["data"])


def _names(folders: Sequence[Path]) -> list[str]:
    """Return the name of each folder, with parent folders as needed to make it unique."""
    parts = [folder.resolve().parts for folder in folders]
    length = 1
    while len({part[-length:] for part in parts}) < len(parts):
        length += 1
    return ["/".join(part[-length:]) for part in parts]


def _source(config: dict[str, Any], location: DataLocation) -> dict[str, Any]:
    """Return the arguments to read the data of a run."""
    source = {name: config.get(name) for name in ("data", "image_root", "data_format")}
    if location.data is not None:
        source["image_root"] = None  # it belongs to the original data
    given = {"data": location.data, "image_root": location.image_root, "data_format": location.data_format}
    return {**source, **{name: value for name, value in given.items() if value is not None}}


def _test_images(data: Any, image_root: Any, data_format: Any) -> LabeledImages:
    path = Path(str(data))
    if not path.exists():
        raise InputError(f"the data {data} does not exist; give its path with --data")
    splits = read(path, image_root, format=data_format)
    if "test" not in splits:
        raise InputError(f"{data} has no test split; it has {', '.join(splits)}")
    return splits["test"]


def _saved_predictions(path: Path, tested: Evaluation) -> Predictions | None:
    """Read the predictions that the run saved; None if it saved none."""
    try:
        saved = Predictions.load(path)
    except FileNotFoundError:
        return None
    counts = np.zeros_like(tested.confusion)
    if saved.classes == tested.classes:
        np.add.at(counts, (saved.labels, saved.predicted), 1)
    if not np.array_equal(counts, tested.confusion):
        raise InputError(f"{path.name} does not match the test result of the run; it may belong to another run")
    return saved


def _computed_predictions(folder: Path, images: LabeledImages, tested: Evaluation) -> Predictions:
    """Compute the predictions of the best weights."""
    model = load_model(RunFolder(folder).best)
    ordered = images.with_classes(model.class_names)
    if tested.confusion.sum(1).tolist() != list(ordered.class_counts().values()):
        raise InputError(
            f"the {len(images):,} test images found are not those that the run was tested on; give their path with "
            "--data"
        )
    device, logits = default_device(), list[Tensor]()
    batches = evaluation_batches(ordered, resolve_model_data_config(model))
    evaluate(model.to(device), batches, model.class_names, device, logits)
    return Predictions.of(ordered, torch.cat(logits))


def _matched(images: LabeledImages, predictions: Predictions) -> LabeledImages:
    """Return the images in the order of the predictions."""
    images = images.with_classes(predictions.classes)
    if not np.array_equal(images.names, predictions.names):
        place = {name: row for row, name in enumerate(images.names.tolist())}
        images = images.subset([place[name] for name in predictions.names.tolist() if name in place])
    if not np.array_equal(images.names, predictions.names) or not np.array_equal(images.labels, predictions.labels):
        raise InputError("the test images found are not those that the run was tested on; give their path with --data")
    return images


def _groups(config: dict[str, Any], location: DataLocation, predictions: Predictions) -> Groups:
    data = location.data or str(config.get("data"))
    path = location.group_list or (data if data.lower().endswith(".csv") and Path(data).exists() else None)
    if path is None:
        if location.groups:
            raise InputError("the data is not a .csv list with groups; give one with --group-list")
        return {}
    return read_groups(Path(path), location.groups, predictions.names.tolist())


def main_result(run: Run) -> tuple[str, Evaluation] | None:
    """Return the split that a run is judged by and its evaluation: test if available, else validation."""
    for split in ("test", "validation"):
        if split in run.results:
            return split, run.results[split]
    return None
