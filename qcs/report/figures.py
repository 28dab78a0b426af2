"""Draw figures of trained networks on labeled faces, together with the numbers behind them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from timm.data import resolve_model_data_config

from qcs import visualize
from qcs.data import LabeledImages, eval_transform
from qcs.data.labels import class_indices
from qcs.engine.eval_data import evaluation_batches
from qcs.engine.evaluation import Evaluation, evaluate
from qcs.engine.prediction import default_device
from qcs.engine.run_folder import METRICS, RunFolder
from qcs.errors import InputError
from qcs.models import CrossSimilarityNetwork, load_model
from qcs.models.weights import find_weights
from qcs.report.sample_faces import SampleFaces

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BATCH = 64  # images whose features are computed at a time
POOL = 12  # images of each class that a face is compared with when attention is averaged
POINTS = 1000  # images in an embedding; more take minutes and overlap in the plot


class Network:
    """A network by the name of its weights; it is loaded on first use.

    Args:
        source: Run folder, weights file or name of weights.

    Attributes:
        path: The weights file.
        name: What figures call the network.
        source: As given.

    Raises:
        InputError: If there are no weights.
    """

    def __init__(self, source: str) -> None:
        self.path = find_weights(source)
        given = Path(source.partition("@")[0])
        of_run = given.name in ("", "best.safetensors")
        shown = self.path.resolve().parent.name if of_run else given.name
        self.name = shown.removesuffix(".safetensors")
        self.source = source

    @cached_property
    def model(self) -> CrossSimilarityNetwork:
        """Return the network on the fastest device of this machine."""
        return load_model(self.path).to(default_device())


@dataclass(frozen=True)
class FigureWithData:
    """A figure and the numbers it shows.

    Attributes:
        figure: The figure.
        arrays: Arrays by name, of all feature levels, for `.npz`.
        facts: Names and single numbers, for JSON.
    """

    figure: Figure
    arrays: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


def similarity(network: Network, faces: SampleFaces, level: int | None) -> FigureWithData:
    """Draw the token matrices of two faces of one class: cosine, dot product and Euclidean similarity."""
    rows = faces.pair()
    compared = visualize.compare(network.model, faces.prepared(network.model, rows))
    pairs = {"own": compared.pair(0, 0), "cross": compared.pair(0, 1)}
    index = _index(level, compared.levels)
    figure = visualize.similarity_matrices(faces.seen(network.model, rows), *pairs.values(), level=index)
    arrays = {
        f"{name}_{measure}": getattr(pair, measure)
        for name, pair in pairs.items()
        for measure in ("distance", "similarity", "cosine", "dot")
    }
    return FigureWithData(figure, arrays, {"level": index + 1, "faces": faces.facts(rows)})


def classes(network: Network, faces: SampleFaces, level: int | None) -> FigureWithData:
    """Draw where an anchor is similar and dissimilar to an image of each class."""
    rows = faces.against_classes()
    compared = visualize.compare(network.model, faces.prepared(network.model, rows))
    maps, index = visualize.class_maps(compared), _index(level, compared.levels)
    figure = visualize.class_heat_maps(faces.seen(network.model, rows), maps, faces.classes(rows), level=index)
    return FigureWithData(figure, maps, {"level": index + 1, "anchor_first": faces.facts(rows)})


def features(network: Network, faces: SampleFaces, level: int | None) -> FigureWithData:
    """Draw the discriminative and the redundant features of a face, compared with six others."""
    rows = faces.against_six()
    compared = visualize.compare(network.model, faces.prepared(network.model, rows))
    names, index = faces.classes(rows), _index(level, compared.levels)
    maps = visualize.feature_maps(compared, [name == names[0] for name in names[1:]])
    figure = visualize.discriminative_features(faces.seen(network.model, rows), maps, names, level=index)
    return FigureWithData(figure, maps, {"level": index + 1, "image_first": faces.facts(rows)})


def embedding(network: Network, faces: SampleFaces, level: int | None) -> FigureWithData:
    """Draw the features of many faces in the plane by t-SNE, colored by class and, if known, by person."""
    rows = faces.some(POINTS)
    parts = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    vectors = np.concatenate([visualize.features(network.model, faces.prepared(network.model, part)) for part in parts])
    groups: dict[str, list[str]] = {"class": faces.classes(rows)}
    if faces.images.subjects is not None:
        groups["person"] = faces.images.subjects[rows].tolist()
    same = {name: visualize.neighbor_agreement(vectors, of) for name, of in groups.items()}
    points = visualize.project(vectors)
    titles = {
        f"{name}\nnearest neighbor in the same {name}: {100 * same[name]:.1f} %": of for name, of in groups.items()
    }
    arrays = {"points": points, "features": vectors, **{name: np.array(of) for name, of in groups.items()}}
    facts = {"images": len(rows), "nearest_neighbor_in_the_same": same}
    return FigureWithData(visualize.embedding(points, titles), arrays, facts)


def attention(networks: Sequence[Network], faces: SampleFaces) -> FigureWithData:
    """Draw the mean cross-similarity attention of networks over the same faces, a row per network and level."""
    pool, shown = faces.some_of_each(POOL, least=2), faces.some_of_each(1, least=2)
    weights, seen = {}, {}
    for network in networks:
        places = [pool.index(row) for row in shown]
        weights[network.name] = mean_face_attention(network.model, faces.images.subset(pool), places)
        seen[network.name] = faces.seen(network.model, shown)
    rows = {
        f"{name}\nlevel {n}": visualize.Overlay(of, log_scale=True, faces=seen[name])
        for name, levels in weights.items()
        for n, of in enumerate(levels, 1)
    }
    figure = visualize.attention_rows(seen[networks[0].name], rows, column_titles=faces.classes(shown))
    return FigureWithData(figure, weights, {"faces": faces.facts(shown)})


def cam(networks: Sequence[Network], faces: SampleFaces) -> FigureWithData:
    """Draw Grad-CAM of the true class over the same faces, a row per network."""
    shown = faces.some_of_each(1)
    names, maps, seen, probability = faces.classes(shown), {}, {}, {}
    for network in networks:
        images = faces.prepared(network.model, shown)
        targets = [_own_index(network, faces)[label] for label in faces.images.labels[shown]]
        maps[network.name] = visualize.activation_maps(network.model, images, targets)
        seen[network.name] = faces.seen(network.model, shown)
        with torch.inference_mode():
            probabilities = network.model.eval()(images).float().softmax(-1).cpu()
        probability[network.name] = [float(row[target]) for row, target in zip(probabilities, targets, strict=True)]
    unit = "Grad-CAM\n(1 = strongest)"
    rows = {name: visualize.Overlay(values, unit, faces=seen[name]) for name, values in maps.items()}
    figure = visualize.attention_rows(seen[networks[0].name], rows, column_titles=names)
    return FigureWithData(figure, maps, {"faces": faces.facts(shown), "probability_of_the_class": probability})


def confusion(networks: Sequence[Network], faces: SampleFaces) -> FigureWithData:
    """Draw the confusion matrices of networks side by side."""
    results = {network.name: _evaluated(network, faces) for network in networks}
    matrices = {name: result.confusion for name, result in results.items()}
    figure = visualize.confusion_matrices(matrices, faces.images.classes)
    return FigureWithData(figure, matrices, {name: result.to_dict() for name, result in results.items()})


def curves(networks: Sequence[Network]) -> FigureWithData:
    """Draw loss and accuracy of the base and the cross classifier over the epochs."""
    histories = {network.name: _history(network) for network in networks}
    return FigureWithData(visualize.loss_curves(histories), {}, {"histories": histories})


def mean_face_attention(
    model: CrossSimilarityNetwork, faces: LabeledImages, shown: Sequence[int]
) -> npt.NDArray[np.float32]:
    """Average the cross-similarity attention of faces over comparisons with the others.

    Args:
        model: Network with two or four branches.
        faces: Images with the network's classes; at least two of each class that is shown.
        shown: Positions of the faces to return attention for.

    Returns:
        Attention (levels, len(shown), N) over the tokens of each level.

    Raises:
        InputError: If a shown face has nothing to be compared with.
    """
    prepared = faces.with_transform(eval_transform(resolve_model_data_config(model)))
    images = torch.stack([prepared[row][0] for row in range(len(faces))]).to(next(model.parameters()).device)
    return visualize.mean_attention(visualize.compare(model, images), faces.labels.tolist(), shown)


OF_ONE: dict[str, Callable[[Network, SampleFaces, int | None], FigureWithData]] = {
    "similarity": similarity,
    "classes": classes,
    "features": features,
    "embedding": embedding,
}
"""Kinds of figures that show one network."""

OF_SEVERAL: dict[str, Callable[[Sequence[Network], SampleFaces], FigureWithData]] = {
    "attention": attention,
    "cam": cam,
    "confusion": confusion,
}
"""Kinds of figures that compare networks."""

KINDS = (*OF_ONE, *OF_SEVERAL, "curves")


def _index(level: int | None, levels: int) -> int:
    """Convert a level number, from 1, to its index; None is the deepest level."""
    if level is not None and not 1 <= level <= levels:
        raise InputError(f"level {level} does not exist; this network has the levels 1 to {levels}")
    return levels - 1 if level is None else level - 1


def _own_index(network: Network, faces: SampleFaces) -> list[int]:
    """Return the network's index of each class of the faces."""
    return [index for index in class_indices(faces.images.classes, network.model.class_names) if index is not None]


def _evaluated(network: Network, faces: SampleFaces) -> Evaluation:
    """Evaluate a network on all images, in the class order of the faces."""
    model, order = network.model, _own_index(network, faces)
    images = faces.images.with_classes(model.class_names)
    batches = evaluation_batches(images, resolve_model_data_config(model))
    result = evaluate(model, batches, model.class_names, next(model.parameters()).device)
    return Evaluation(result.confusion[np.ix_(order, order)], result.loss, faces.images.classes)


def _history(network: Network) -> list[dict[str, float]]:
    folder = RunFolder(network.path.parent)
    if not folder.has_history:
        raise InputError(f"{network.source} has no {METRICS} beside its weights; give a run folder to draw curves")
    return folder.read_history()
