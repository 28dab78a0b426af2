"""What is known of some runs: from what they wrote, and from their images where these are still there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from accelerate import Accelerator
from timm.data import resolve_model_data_config
from torch import Tensor

from qcs.data import read
from qcs.data.dataset import LabeledImages
from qcs.engine.eval_data import evaluation_batches
from qcs.engine.evaluation import Evaluation, evaluate
from qcs.engine.prediction_file import FILE, Predictions, in_order
from qcs.engine.run_folder import RunFolder
from qcs.errors import InputError
from qcs.models import load_model
from qcs.report.groups import Groups, read_groups

T = TypeVar("T")
Test = Callable[[dict[str, Any]], LabeledImages]


@dataclass(frozen=True)
class Where:
    """Where the images of the runs lie now, and what says which groups they are of.

    Attributes:
        data: In place of the data in the runs' settings.
        image_root: In place of theirs.
        data_format: In place of theirs.
        groups: Columns of the list of groups.
        group_list: A .csv list of groups; None for the data itself, where that is one.
    """

    data: str | None = None
    image_root: str | None = None
    data_format: str | None = None
    groups: tuple[str, ...] = ()
    group_list: str | None = None


@dataclass
class Run:
    """One run.

    Attributes:
        name: Its folder, with as many of the folders above as tell it from the other runs.
        path: The folder.
        record: What it was started with: its settings under "config", ...
        history: A record per epoch; empty where none is known.
        results: Its evaluations by set.
        predictions: What it predicted of each test image; None where that is not known.
        images: The test images, in the same order; None where they are not there.
        source: Where the data is now; None where it is not there.
        groups: Which group each test image is of, by column of the list that says so.
        missing: What could not be shown, and why.
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
        """The settings."""
        return dict(self.record["config"])

    @property
    def data(self) -> str:
        """Name of the data, without the folders that it lay in."""
        return Path(str(self.config.get("data", "unknown data"))).name

    def attempt(self, read: Callable[[], T], default: T) -> T:
        """What `read` gives, or the default and a line on why not."""
        try:
            return read()
        except (InputError, OSError) as error:
            if (line := " ".join(str(error).split())) not in self.missing:  # many images may fail alike
                self.missing.append(line)
            return default


def gather(paths: Sequence[str | Path], where: Where) -> list[Run]:
    """Read some runs.

    Raises:
        InputError: If one is no run, or the groups asked for cannot be read.
    """
    folders = [Path(path) for path in paths]
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise InputError("a run is given twice; give each once")
    known: dict[str, LabeledImages] = {}  # runs on the same data share it

    def test_images(config: dict[str, Any]) -> LabeledImages:
        source = _source(config, where)
        key = repr(source)
        if key not in known:
            known[key] = _test_images(**source)
        return known[key]

    return [_run(folder, name, where, test_images) for folder, name in zip(folders, _names(folders), strict=True)]


def _run(folder: Path, name: str, where: Where, test_images: Test) -> Run:
    files = RunFolder(folder)
    run = Run(name, folder, files.read_config())
    run.history = run.attempt(files.read_history, [])
    for split in ("validation", "test"):
        if split in run.record["images"] or split == "validation":
            found = run.attempt(partial(files.read_evaluation, split), None)
            run.results |= {split: found} if found else {}
    if "test" in run.results:
        _look_at_images(run, where, test_images)
    elif "test" not in run.record["images"]:
        run.missing.append("the data has no test images; what follows is of the validation images that chose the model")
    return run


def _look_at_images(run: Run, where: Where, test_images: Test) -> None:
    """Predictions of single test images, the images and their groups: only of a run that is finished and tested."""
    images = run.attempt(lambda: test_images(run.config), None)
    run.predictions = run.attempt(lambda: _kept(run.path / FILE, run.results["test"]), None)
    if images and not run.predictions:
        run.predictions = run.attempt(lambda: _predicted(run.path, images, run.results["test"]), None)
    if shown := run.predictions:
        run.images = images and run.attempt(lambda: _matched(images, shown), None)
        groups = partial(_groups, run.config, where, shown)
        run.groups = groups() if where.groups or where.group_list else run.attempt(groups, {})
    if run.images:
        run.source = Path(_source(run.config, where)["data"])


def _names(folders: Sequence[Path]) -> list[str]:
    """Each folder's name, with those above it as far as is needed to tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    length = 1
    while len({part[-length:] for part in parts}) < len(parts):
        length += 1
    return ["/".join(part[-length:]) for part in parts]


def _source(config: dict[str, Any], where: Where) -> dict[str, Any]:
    """Arguments for reading the data of a run."""
    source = {name: config.get(name) for name in ("data", "image_root", "data_format")}
    if where.data is not None:
        source["image_root"] = None  # it went with the other data
    given = {"data": where.data, "image_root": where.image_root, "data_format": where.data_format}
    return {**source, **{name: value for name, value in given.items() if value is not None}}


def _test_images(data: Any, image_root: Any, data_format: Any) -> LabeledImages:
    path = Path(str(data))
    if not path.exists():
        raise InputError(f"the data {data} is not there; say with --data where its test images are now")
    splits = read(path, image_root, format=data_format)
    if "test" not in splits:
        raise InputError(f"{data} has no test split; it has {', '.join(splits)}")
    return splits["test"]


def _kept(path: Path, tested: Evaluation) -> Predictions | None:
    """Those that the run kept, if it did: runs of before did not."""
    try:
        kept = Predictions.load(path)
    except FileNotFoundError:
        return None
    counts = np.zeros_like(tested.confusion)
    if kept.classes == tested.classes:
        np.add.at(counts, (kept.labels, kept.predicted), 1)
    if not np.array_equal(counts, tested.confusion):
        raise InputError(f"{path.name} is not what the run's test result counts; it may be of another run")
    return kept


def _predicted(folder: Path, images: LabeledImages, tested: Evaluation) -> Predictions:
    """Predictions of the best weights, where the run kept none."""
    model = load_model(RunFolder(folder).best)
    known = images.with_classes(model.class_names)
    if tested.confusion.sum(1).tolist() != list(known.class_counts().values()):
        raise InputError(f"the {len(images):,} test images found are not those that the run was tested on")
    device, logits = Accelerator().device, list[Tensor]()
    batches = evaluation_batches(known, resolve_model_data_config(model))
    evaluate(model.to(device), batches, model.class_names, device, logits)
    return Predictions.of(known, in_order(logits))


def _matched(images: LabeledImages, shown: Predictions) -> LabeledImages:
    """The images that the predictions are of, in their order."""
    images = images.with_classes(shown.classes)
    if not np.array_equal(images.names, shown.names):
        place = {name: row for row, name in enumerate(images.names.tolist())}
        images = images.subset([place[name] for name in shown.names.tolist() if name in place])
    if not np.array_equal(images.names, shown.names) or not np.array_equal(images.labels, shown.labels):
        raise InputError(
            "the test images found are not those that the run was tested on; say with --data where they are"
        )
    return images


def _groups(config: dict[str, Any], where: Where, shown: Predictions) -> Groups:
    data = where.data or str(config.get("data"))
    path = where.group_list or (data if data.lower().endswith(".csv") and Path(data).exists() else None)
    if path is None:
        if where.groups:
            raise InputError("the data is no .csv list that could hold groups; give one that does with --group-list")
        return {}
    return read_groups(Path(path), where.groups, shown.names.tolist())


def shown_result(run: Run) -> tuple[str, Evaluation] | None:
    """The set that a run is judged by, and its result: test images, else validation images."""
    for split in ("test", "validation"):
        if split in run.results:
            return split, run.results[split]
    return None
