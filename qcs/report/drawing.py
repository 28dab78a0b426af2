"""Draw figures of trained networks into a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from qcs import visualize
from qcs.data.labels import canonical
from qcs.data.readers import SPLITS
from qcs.engine.eval_data import evaluation_set
from qcs.errors import InputError, check_choice
from qcs.files import writing
from qcs.report.figures import KINDS, OF_ONE, OF_SEVERAL, FigureWithData, Network, curves
from qcs.report.sample_faces import SampleFaces

Job = tuple[str, Callable[[], FigureWithData]]  # file name without suffix, and the function that draws it


class Drawn(NamedTuple):
    """One step of drawing.

    Attributes:
        path: The figure that was written; None if something was left out.
        note: What was left out and why; empty if a figure was written.
    """

    path: Path | None
    note: str = ""


def draw_figures(
    kind: str,
    weights: Sequence[str],
    data: str | None = None,
    *,
    output: str = "pictures",
    format: str = "png",
    split: str = "test",
    anchor: str | None = None,
    level: int | None = None,
    seed: int = 0,
    image_root: str | None = None,
    data_format: str | None = None,
) -> Iterator[Drawn]:
    """Draw one kind of figure, or all kinds that the networks can show, and yield each step.

    Args:
        kind: A kind of figure, see `KINDS`, or `"all"`.
        weights: Anything that names weights; several networks are compared.
        data: Labeled faces, see `qcs.data.read`; not needed for curves.
        output: Folder to write to.
        format: File format, such as `"png"`, `"pdf"` or `"svg"`.
        split: Split of the data.
        anchor: Class of the face that others are compared with; None is the first class with two images.
        level: Feature level of matrices and heat maps, from 1; None is the deepest.
        seed: Seed of the choice of faces.
        image_root: Folder that the paths of a list file are relative to.
        data_format: Format of the data; None detects it.

    Raises:
        InputError: If the kind is unknown, or if a figure cannot be drawn; with `"all"` such a figure is left out.
    """
    check_choice("kind", kind, (*KINDS, "all"))
    check_choice("split", split, (*SPLITS, "all"))
    networks = _networks(weights)
    facts = {"weights": {network.name: network.source for network in networks}, "seed": seed}
    jobs: list[Job] = [("curves", partial(curves, networks))] if kind in ("curves", "all") else []
    if kind != "curves":
        if data is None:
            raise InputError(f"the figure {kind!r} shows faces; choose them with --data")
        _check_same_classes(networks)
        chosen = evaluation_set(networks[0].model, data, split, image_root, data_format)
        if chosen.note:
            yield Drawn(None, chosen.note)
        facts |= {"data": data, "split": chosen.split}
        faces = SampleFaces(chosen.images, anchor, seed)
        jobs = [*_jobs(KINDS if kind == "all" else [kind], networks, faces, level), *jobs]
    for name, draw in jobs:
        path = Path(output) / f"{name}.{format.removeprefix('.')}"
        try:
            picture = draw()
        except InputError as error:
            if kind != "all":
                raise
            yield Drawn(None, f"left out {name}: {error}")
            continue
        with writing(path):
            visualize.save(picture.figure, path, arrays=picture.arrays or None, facts={**facts, **picture.facts})
        yield Drawn(path)


def _jobs(kinds: Sequence[str], networks: Sequence[Network], faces: SampleFaces, level: int | None) -> Iterator[Job]:
    """Yield a figure of all networks, or of each network; the latter are named after it if there are several."""
    for kind in kinds:
        if kind in OF_SEVERAL:
            comparing = [network for network in networks if network.model.branches > 1]
            among = comparing if kind == "attention" and len(kinds) > 1 and comparing else networks
            yield kind, partial(OF_SEVERAL[kind], among, faces)
        elif kind in OF_ONE:
            for network in networks:
                name = kind if len(networks) == 1 else f"{kind}-{network.name}"
                yield name, partial(OF_ONE[kind], network, faces, level)


def _networks(weights: Sequence[str]) -> list[Network]:
    networks = [Network(source) for source in weights]
    if len({network.path.resolve() for network in networks}) < len(networks):
        raise InputError("the same weights are given twice; give each once")
    names = [network.name for network in networks]
    for network in networks:
        if names.count(network.name) > 1:
            network.name = network.source.strip("/").replace("/", "-")
    return networks


def _check_same_classes(networks: Sequence[Network]) -> None:
    first = networks[0]
    for other in networks[1:]:
        if set(map(canonical, other.model.class_names)) != set(map(canonical, first.model.class_names)):
            raise InputError(
                f"{first.name} has the classes {', '.join(first.model.class_names)}, {other.name} has "
                f"{', '.join(other.model.class_names)}; draw them separately"
            )
