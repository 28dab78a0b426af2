"""Draw the figures of `qcs demo`: real faces as the shipped weights compare them, and the two trained networks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from qcs.data.dataset import LabeledImages
    from qcs.engine.training.trainer import RunResult
    from qcs.models import CrossSimilarityNetwork

SIDE = 108  # pixels of a face in the figures of real faces
CLEAR = {"happy": (18, 53, 81), "neutral": (7, 54, 62), "surprise": (29, 48, 51)}
"""Positions of faces with a clear expression in the 100 faces (25 x 25 pixels) of scikit-image's `lfw_subset`."""
ATTENDED = 140  # synthetic faces compared with one another for the figure of attention


def draw_real_faces(folder: Path, photograph: Path, weights: str) -> dict[str, Path]:
    """Draw what the weights compare in real faces: the portrait's, and some of scikit-image's `lfw_subset`.

    Args:
        folder: Folder to write to.
        photograph: The portrait; its largest face is the anchor.
        weights: Name of the weights.

    Returns:
        The figures, by what they show.
    """
    from qcs import visualize
    from qcs.models import load_model
    from qcs.report.figures import mean_face_attention
    from qcs.report.sample_faces import SampleFaces

    model = load_model(weights)
    faces = real_faces(model, photograph)
    chosen, rows = SampleFaces(faces, anchor=None, seed=0), [0, 1, 4, 7]  # the portrait, then a face of each class
    names = chosen.classes(rows)
    maps = visualize.class_maps(visualize.compare(model, chosen.prepared(model, rows)))
    similarity = visualize.class_heat_maps(chosen.seen(model, rows), maps, names)
    visualize.save(similarity, folder / "similarity.png")
    shown = [0, 1, 4, 5, 7, 8]
    attention = mean_face_attention(model, faces, shown)
    overlays = {f"attention\nlevel {level}": visualize.Overlay(of) for level, of in enumerate(attention, 1)}
    figure = visualize.attention_rows(chosen.seen(model, shown), overlays, column_titles=chosen.classes(shown))
    visualize.save(figure, folder / "attention.png")
    return {
        "where the face of the photograph resembles, and differs from, a happy, a neutral and a surprised face": (
            folder / "similarity.png"
        ),
        f"what {weights} gives weight to when it compares these real faces": folder / "attention.png",
    }


def real_faces(model: CrossSimilarityNetwork, photograph: Path) -> LabeledImages:
    """Return the face of the photograph, labeled by the network, and those of `CLEAR`."""
    import numpy as np
    from PIL import Image
    from skimage import data

    from qcs import faces
    from qcs.data.dataset import LabeledImages
    from qcs.engine.prediction import classify

    portrait = Image.open(photograph).convert("RGB")
    crops = [faces.align(portrait, faces.MTCNN()(portrait)[0], SIDE).convert("L")]
    names = classify(model, crops).labels
    small = (255 * data.lfw_subset()).round().astype(np.uint8)
    for name, rows in CLEAR.items():
        crops += [Image.fromarray(small[row]).resize((SIDE, SIDE), Image.Resampling.BICUBIC) for row in rows]
        names += [name] * len(rows)
    labels = [model.class_names.index(name) for name in names]
    return LabeledImages(np.stack([np.asarray(crop) for crop in crops]), labels, model.class_names)


def draw_results(
    folder: Path, results: Mapping[str, RunResult], test: LabeledImages, masks: npt.NDArray[np.bool_]
) -> dict[str, Path]:
    """Draw confusion matrices, losses and the attention of the trained QCS network.

    Args:
        folder: Folder to write to.
        results: Results of the trainings, the QCS network last.
        test: The synthetic test faces.
        masks: Their expressive regions (N, S, S).

    Returns:
        The figures, by what they show.
    """
    import numpy as np

    from qcs import visualize
    from qcs.models import load_model
    from qcs.report.figures import mean_face_attention

    matrices = {model: result.test.confusion for model, result in results.items() if result.test is not None}
    visualize.save(visualize.confusion_matrices(matrices, test.classes), folder / "confusion.png")
    visualize.save(visualize.loss_curves({n: result.history for n, result in results.items()}), folder / "curves.png")
    shown = [int(np.flatnonzero(test.labels == label)[0]) for label in range(len(test.classes))]
    trained = load_model([*results.values()][-1].folder)
    attention = mean_face_attention(trained, test.subset(np.arange(min(ATTENDED, len(test)))), shown)
    rows = {
        **{f"attention, level {level}": weights for level, weights in enumerate(attention, start=1)},
        "expressive regions\n(ground truth)": masks[shown],
    }
    seen = np.stack([np.asarray(test.image(row).convert("RGB")) for row in shown])
    figure = visualize.attention_rows(seen, rows, column_titles=test.classes)
    visualize.save(figure, folder / "synthetic_attention.png")
    return {
        "attention of the trained QCS network on synthetic faces": folder / "synthetic_attention.png",
        "which classes the two networks confuse": folder / "confusion.png",
        "losses and accuracies of both trainings": folder / "curves.png",
    }
