"""Choose the weights of a run for the package, by the rule in docs/experiment.md, on validation images alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.ferplus.data import Data
from benchmarks.ferplus.estimates import best_temperature
from benchmarks.ferplus.measure import Probabilities, probabilities
from qcs.data import LabeledImages, read
from qcs.engine.prediction_file import Predictions
from qcs.engine.run_folder import RunFolder
from qcs.engine.training import TrainConfig
from qcs.errors import InputError
from qcs.files import sha256, write_text
from qcs.models import CrossSimilarityNetwork, load_model
from qcs.report.statistics import accuracy, balanced_accuracy

FOLDER = "selection"  # of the records, in the folder of results
EPOCHS = ("best", "last")
PARTS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the difference between the shares of the classes
HOME = "FERPlus"


@dataclass(frozen=True)
class Candidate:
    """Weights of a run that may go into the package.

    Attributes:
        run: Name of the run folder.
        epoch: `"best"` or `"last"`.
        part: Part of the difference between the shares of the classes that is added to the logits.
        measures: Accuracy and balanced accuracy by set of images.
    """

    run: str
    epoch: str
    part: float
    measures: Mapping[str, Mapping[str, float]]

    @property
    def score(self) -> float:
        """Mean of accuracy and balanced accuracy on the validation images of FERPlus."""
        return sum(self.measures[HOME].values()) / 2


def select(runs: Sequence[str | Path], name: str, data: Data, shipped: CrossSimilarityNetwork, results: Path) -> Path:
    """Choose among the candidates of runs and write the record of the choice.

    Args:
        runs: The run folders.
        name: `architecture.tag` of the weights to be.
        data: The images; no test image is used.
        shipped: The network in the package that they must be better than.
        results: Folder of the results; the record goes into its folder `selection`.
    """
    sets = images_to_select_on(data)
    before = {key: _measures(_probabilities(shipped, images), images) for key, images in sets.items()}
    found: list[Candidate] = []
    chances: list[Probabilities] = []
    offsets: dict[str, npt.NDArray[np.float64]] = {}
    files: dict[str, str] = {}
    for folder in map(RunFolder, runs):
        run = folder.path.name
        offsets[run] = class_offsets(TrainConfig.from_dict(folder.read_config()["config"]), data, sets[HOME].classes)
        for epoch in EPOCHS:
            path = folder.path / f"{epoch}.safetensors"
            files[f"{run}/{epoch}"] = sha256(path)
            model = load_model(path)
            plain = {key: _probabilities(model, images) for key, images in sets.items()}
            for part in PARTS if offsets[run].any() else PARTS[:1]:
                moved = {key: shifted(each, part * offsets[run]) for key, each in plain.items()}
                found.append(Candidate(run, epoch, part, {key: _measures(moved[key], sets[key]) for key in sets}))
                chances.append(moved[HOME])
    winner = choose(found, before)
    record: dict[str, Any] = {
        "name": name,
        "weights": files,
        "images": {key: len(images) for key, images in sets.items()},
        "in the package": before,
        "candidates": [{"run": c.run, "epoch": c.epoch, "part": c.part, "score": c.score, **c.measures} for c in found],
        "chosen": None,
    }
    if winner is not None:
        home, names = sets[HOME], np.array(sets[HOME].names)
        shown = Predictions(chances[found.index(winner)], home.labels, names, home.classes)
        moves = (winner.part * offsets[winner.run]).round(6)
        record["chosen"] = {
            "run": winner.run,
            "epoch": winner.epoch,
            "part": winner.part,
            "offsets": dict(zip(home.classes, moves.tolist(), strict=True)),
            "temperature": best_temperature(shown),
        }
    return write_text(results / FOLDER / f"{name}.json", json.dumps(record, indent=1) + "\n")


def images_to_select_on(data: Data) -> dict[str, LabeledImages]:
    """Return the validation images without copies, and the validation part of the other dataset by source."""
    sources = np.array([data.sources[name] for name in data.muxspace.names.tolist()])
    home = data.without_copies("validation")
    parts = {
        f"muxspace, {source}": data.muxspace.subset(data.for_selection & (sources == source))
        for source in np.unique(sources)
        if source
    }
    return {HOME: home, **{key: images.with_classes(home.classes) for key, images in parts.items()}}


def choose(candidates: list[Candidate], before: Mapping[str, Mapping[str, float]]) -> Candidate | None:
    """Return the best candidate that meets the conditions; None keeps the weights in the package."""
    kept = [candidate for candidate in candidates if _is_allowed(candidate.measures, before)]
    return max(kept, key=lambda candidate: (candidate.score, -candidate.part), default=None)


def _is_allowed(now: Mapping[str, Mapping[str, float]], before: Mapping[str, Mapping[str, float]]) -> bool:
    home, former = now[HOME], before[HOME]
    elsewhere = (now[key]["accuracy"] >= before[key]["accuracy"] for key in now if key != HOME)
    better = home["accuracy"] > former["accuracy"] and home["balanced_accuracy"] >= former["balanced_accuracy"]
    return better and all(elsewhere)


def class_offsets(config: TrainConfig, data: Data, classes: tuple[str, ...]) -> npt.NDArray[np.float64]:
    """Return log(share among training images / share among sampled images) by class, in nats; 0 without images."""
    counts = read(data.ferplus, votes=config.votes)["train"].class_counts()
    images = np.array([counts[name] for name in classes], dtype=np.float64)
    drawn = {"none": images, "class": np.sign(images), "square-root": np.sqrt(images)}[config.balance]
    ratio = np.divide(images * drawn.sum(), drawn * images.sum(), out=np.ones(len(images)), where=drawn > 0)
    offsets: npt.NDArray[np.float64] = np.log(ratio)
    return offsets


def shifted(found: Probabilities, offsets: npt.NDArray[np.float64]) -> Probabilities:
    """Return the probabilities (n, classes) with offsets added to the logits."""
    moved = found * np.exp(offsets)
    result: Probabilities = (moved / moved.sum(1, keepdims=True)).astype(np.float32)
    return result


def selected(run: str | Path, record: Mapping[str, Any]) -> CrossSimilarityNetwork:
    """Return the chosen network of a run, with the offsets and the temperature in its last layer.

    Raises:
        InputError: If nothing was chosen, or the run has other weights by now.
    """
    chosen = record["chosen"]
    if chosen is None:
        raise InputError(f"no weights of {run} are better by the rule than those in the package; ship none")
    path = RunFolder(run).path / f"{chosen['epoch']}.safetensors"
    if record["weights"].get(f"{path.parent.name}/{path.stem}") != sha256(path) or path.parent.name != chosen["run"]:
        raise InputError(f"{path} is not what was selected; run `python -m benchmarks.ferplus select` again")
    model: Any = load_model(path)
    head = model.base.head
    with torch.no_grad():
        head.bias += torch.tensor([chosen["offsets"][name] for name in model.class_names])
        for parameter in (head.weight, head.bias):
            parameter /= chosen["temperature"]
    return cast(CrossSimilarityNetwork, model)


def read_selection(results: Path, name: str) -> dict[str, Any]:
    """Return the record of a choice.

    Raises:
        InputError: If there is none.
    """
    path = results / FOLDER / f"{name}.json"
    if not path.exists():
        raise InputError(f"no weights were chosen for {name}; run `python -m benchmarks.ferplus select`")
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def rows(record: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield the rows of the table of candidates, those in the package first."""
    chosen = record["chosen"] or {}
    names = ("run", "epoch", "part")
    for each in ({"run": "in the package"} | record["in the package"], *record["candidates"]):
        mark = " (chosen)" if chosen and all(each.get(name) == chosen[name] for name in names) else ""
        part = f", {each['epoch']}, t {each['part']:g}" if "part" in each else ""
        cells = [f"{each[HOME][what]:.1%}" for what in ("accuracy", "balanced_accuracy")]
        cells += [f"{each[key]['accuracy']:.1%}" for key in record["images"] if key != HOME]
        yield [f"{each['run']}{part}{mark}", *cells]


def _probabilities(model: CrossSimilarityNetwork, images: LabeledImages) -> Probabilities:
    """Return probabilities (n, classes) with the classes in the order of the images, which are all of the network's."""
    found: Probabilities = probabilities(model, images)[:, [model.class_names.index(name) for name in images.classes]]
    return found


def _measures(found: Probabilities, images: LabeledImages) -> dict[str, float]:
    shown = Predictions(found, images.labels, np.array(images.names), images.classes)
    ones = np.ones((1, len(found)), np.float32)
    return {
        "accuracy": float(accuracy(shown)(ones)[0]),
        "balanced_accuracy": float(balanced_accuracy(shown)(ones)[0]),
    }
