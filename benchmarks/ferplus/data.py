"""Load the images of the experiment in every form it needs, lazily."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.ferplus.copies import copied
from benchmarks.ferplus.plan import Labels
from benchmarks.ferplus.shortcut import ShortcutFaces, shortcut_faces
from qcs.data import LabeledImages, canonical, merge, read
from qcs.data.manifest import manifest
from qcs.errors import InputError
from qcs.samplers import QuadrupletSampler

CLASSES = 8  # columns of the votes that are expressions
QUADRUPLETS = 12  # sampled at once


class Data:
    """The images of the experiment.

    Args:
        folder: Holds `ferplus.npz` (`images`, `votes`, `split`, unique `names`, and `fer2013`, the old label of each
            image as a name, empty where unknown) and `muxspace/labels.csv`.
    """

    def __init__(self, folder: str | Path) -> None:
        self.ferplus, self.muxspace_folder = Path(folder) / "ferplus.npz", Path(folder) / "muxspace"

    @cached_property
    def official(self) -> dict[str, LabeledImages]:
        """Return training, validation and test images by the official majority rule."""
        return read(self.ferplus)

    @cached_property
    def synthetic(self) -> ShortcutFaces:
        """Return synthetic faces with a shortcut in training."""
        return shortcut_faces()

    def splits(self, labels: Labels) -> dict[str, LabeledImages]:
        """Return the training images of a run and the validation images for model selection, never test images."""
        if labels == "synthetic":
            return dict(self.synthetic.splits)
        train = {
            "votes": self.vote_shares,
            "quadruplets": self._of_quadruplets,
            "random-partners": self._with_random_labels,
            "majority": self._official_train,
            "fer2013": self._with_old_labels,
        }[labels]
        return {"train": train(), "validation": self.official["validation"]}

    def hashes(self, labels: Labels) -> Mapping[str, str]:
        """Return the SHA-256 of the data by name."""
        return {"synthetic faces": self.synthetic.sha256} if labels == "synthetic" else self._hashes

    @cached_property
    def muxspace(self) -> LabeledImages:
        """Return all images of the other dataset, in grayscale like FERPlus."""
        parts = read(self.muxspace_folder / "labels.csv")
        images = next(iter(parts.values())) if len(parts) == 1 else merge(parts)
        grayscale = [np.asarray(images.image(index).convert("L")) for index in range(len(images))]
        return LabeledImages(
            grayscale, images.labels, images.classes, names=images.names.tolist(), subjects=images.subjects
        )

    @cached_property
    def sources(self) -> dict[str, str]:
        """Return the collection that each image of the other dataset is from, by name; empty if its list has none."""
        with (self.muxspace_folder / "labels.csv").open(newline="", encoding="utf-8") as file:
            listed = {Path(row["path"]).name: row.get("source") or "" for row in csv.DictReader(file)}
        return {name: listed[Path(name).name] for name in self.muxspace.names.tolist()}

    @cached_property
    def for_selection(self) -> npt.NDArray[np.bool_]:
        """Return which images of the other dataset may be looked at to choose weights; the rest only measures them.

        They are the split `val` of a source that has one, and otherwise every second person in alphabetical order.
        """
        with (self.muxspace_folder / "labels.csv").open(newline="", encoding="utf-8") as file:
            parts = {Path(row["path"]).name: row.get("split") or "" for row in csv.DictReader(file)}
        names = self.muxspace.names.tolist()
        sources = np.array([self.sources[name] for name in names])
        found = np.array([parts[Path(name).name] == "val" for name in names])
        for source in np.unique(sources):
            own = sources == source
            if not found[own].any() and self.muxspace.subjects is not None:
                found |= own & np.isin(self.muxspace.subjects, np.unique(self.muxspace.subjects[own])[1::2])
        return found

    def by_source(self) -> dict[str, LabeledImages]:
        """Return the images of the other dataset by the collection that they are from."""
        sources = np.array([self.sources[name] for name in self.muxspace.names.tolist()])
        return {str(name): self.muxspace.subset(sources == name) for name in np.unique(sources) if name}

    @cached_property
    def unseen(self) -> npt.NDArray[np.bool_]:
        """Return which test images are not pixel-identical to a training image."""
        return ~copied(self.official["test"], self.official["train"])

    @cached_property
    def has_no_copy(self) -> npt.NDArray[np.bool_]:
        """Return which test images are pixel-identical to no training or validation image."""
        return ~copied(self.official["test"], self.official["train"], self.official["validation"])

    @cached_property
    def _hashes(self) -> dict[str, str]:
        return {path.name: manifest(path)["sha256"] for path in (self.ferplus, self.muxspace_folder)}

    def _official_train(self) -> LabeledImages:
        return self.official["train"]

    def vote_shares(self, split: str = "train") -> LabeledImages:
        """Return a split with the vote shares of the expressions as soft targets.

        Single votes are dropped, as in the majority rule.
        """
        images = self.official[split]
        votes = self._column("votes", images)[:, :CLASSES].astype(np.float32)
        votes[votes == 1] = 0
        soft = votes / votes.sum(axis=1, keepdims=True)
        return LabeledImages(images.images, images.labels, images.classes, names=images.names, soft=soft)

    def votes(self, split: str) -> npt.NDArray[np.int64]:
        """Return how many annotators chose each of the eight expressions, (n, 8)."""
        return self._column("votes", self.official[split])[:, :CLASSES].astype(np.int64)

    def without_copies(self, split: str) -> LabeledImages:
        """Return the validation or test images with vote shares, without copies.

        A copy has the pixels of a training image, or of an earlier image of validation or test, in this order.
        """
        known = {np.asarray(image).tobytes() for image in self.official["train"].images}
        for name in ("validation", "test"):
            images = self.vote_shares(name)
            first = np.zeros(len(images), bool)
            for row, image in enumerate(images.images):
                pixels = np.asarray(image).tobytes()
                first[row] = pixels not in known
                known.add(pixels)
            if name == split:
                return images.subset(first)
        raise InputError(f"only validation and test are compared, got {split!r}")

    def _of_quadruplets(self) -> LabeledImages:
        """Return every image as often as an epoch of quadruplets contains it: rare classes are more frequent."""
        train = self.vote_shares()
        return train.subset(np.concatenate(list(QuadrupletSampler(train.labels, QUADRUPLETS, seed=0))))

    def _with_random_labels(self) -> LabeledImages:
        """Return votes as targets and random labels for the sampler: partner images carry no label information."""
        train = self.vote_shares()
        labels = np.random.default_rng(0).integers(len(train.classes), size=len(train))
        return LabeledImages(train.images, labels, train.classes, names=train.names, soft=train.soft)

    def _with_old_labels(self) -> LabeledImages:
        """Return the same images with their old labels, without those whose old label is unknown."""
        train = self.official["train"]
        old = [canonical(name) for name in self._column("fer2013", train)]
        known = np.array([name != "" for name in old])
        labels = [train.classes.index(name) for name in old if name]
        kept = train.subset(known)
        return LabeledImages(kept.images, labels, train.classes, names=kept.names)

    def _column(self, name: str, images: LabeledImages) -> npt.NDArray[np.generic]:
        """Return a column of the archive for these images, matched by name."""
        with np.load(self.ferplus, allow_pickle=False) as archive:
            if missing := {"names", name} - set(archive.files):
                raise InputError(f"{self.ferplus} has no {' and '.join(sorted(missing))}")
            names, column = archive["names"], archive[name]
        row = {each: index for index, each in enumerate(names.tolist())}
        return column[[row[each] for each in images.names.tolist()]]
