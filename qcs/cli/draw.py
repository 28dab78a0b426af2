"""Drawing kinds of pictures of trained networks into a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from qcs import visualize
from qcs.data.labels import canonical
from qcs.engine.eval_data import check_split, known_images
from qcs.errors import InputError
from qcs.files import writing
from qcs.report.figures import KINDS, OF_ONE, OF_SEVERAL, FigureWithData, Network, curves
from qcs.report.sample_faces import SampleFaces

Job = tuple[str, Callable[[], FigureWithData]]  # file name without suffix, and what draws it


def draw_pictures(
    kind: str,
    weights: Sequence[str],
    data: str | None,
    console: Console,
    *,
    output: str = "pictures",
    format: str = "png",
    split: str = "test",
    anchor: str | None = None,
    level: int | None = None,
    seed: int = 0,
    image_root: str | None = None,
    data_format: str | None = None,
) -> list[Path]:
    """Draw one kind of picture, or all that the networks can show.

    Args:
        kind: A kind of picture, or all.
        weights: Run folders, weights files or names on the Hub.
        data: Labelled faces, as for `qcs.data.read`; the curves need none.
        console: Where to print.
        output: Folder to write to.
        format: Suffix of the pictures, as png, pdf or svg.
        split: Split of the data.
        anchor: Class of the face that others are compared with; None for the first class of two images.
        level: Feature level of the matrices and heat maps, from 1; None for the deepest.
        seed: Decides which faces are shown.
        image_root: As for `qcs.data.read`.
        data_format: As for `qcs.data.read`.

    Returns:
        The pictures written; with `"all"`, what cannot be drawn is said and left out.

    Raises:
        InputError: If the kind is unknown, or the picture cannot be drawn.
    """
    if kind not in (*KINDS, "all"):
        raise InputError(f"unknown kind of picture {kind!r}; expected one of {', '.join(KINDS)}, or all")
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    check_split(split)
    networks = _networks(weights)
    written, facts = [], {"weights": {network.name: network.source for network in networks}, "seed": seed}
    jobs: list[Job] = [("curves", partial(curves, networks))] if kind in ("curves", "all") else []
    if kind != "curves":
        if data is None:
            raise InputError(f"the picture {kind!r} shows faces; say with --data which")
        _same_classes(networks)
        split, images = known_images(networks[0].model, data, split, image_root, data_format, say)
        facts |= {"data": data, "split": split}
        faces = SampleFaces(images, anchor, seed)
        jobs = [*_jobs(KINDS if kind == "all" else [kind], networks, faces, level), *jobs]
    for name, draw in jobs:
        path = Path(output) / f"{name}.{format.removeprefix('.')}"
        try:
            picture = draw()
        except InputError as error:
            if kind != "all":
                raise
            say(f"left out {name}: {error}")
            continue
        with writing(path):
            visualize.save(picture.figure, path, arrays=picture.arrays or None, facts={**facts, **picture.facts})
        say(f"wrote {path}")
        written.append(path)
    return written


def _jobs(kinds: Sequence[str], networks: Sequence[Network], faces: SampleFaces, level: int | None) -> Iterator[Job]:
    """A picture of all networks, or of each by itself; the latter are named after them where there are several."""
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


def _same_classes(networks: Sequence[Network]) -> None:
    first = networks[0]
    for other in networks[1:]:
        if set(map(canonical, other.model.class_names)) != set(map(canonical, first.model.class_names)):
            raise InputError(
                f"{first.name} knows the classes {', '.join(first.model.class_names)}, {other.name} "
                f"{', '.join(other.model.class_names)}; draw them apart"
            )
