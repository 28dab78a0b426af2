"""Ask whether a form of comparison can teach anything: train only the cross part, on the tokens of a frozen network.

A comparison can teach the base network only if the cross classifier knows something that the base network does not.
The tokens of a trained base network are computed once; every form then trains its second classifier on the same tokens
and is compared with the base classifier on validation images, among partner images that say nothing of the label.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from timm.data import resolve_model_data_config
from torch import Tensor
from torch.nn import functional as F

from benchmarks.ferplus.data import Data
from benchmarks.ferplus.forms import FORMS, CrossPart, Form, partners_in_batch
from benchmarks.ferplus.tables import table
from benchmarks.ferplus.vote_loss import balanced_accuracy, cross_fitted_losses, interval, packed, unpacked
from qcs.data import Augmentation, LabeledImages, eval_transform
from qcs.data.batched_augmentation import BatchedAugmentation
from qcs.engine.training.hardware import use_plain_attention
from qcs.errors import InputError
from qcs.files import replacing, sha256, write_text
from qcs.models import CrossSimilarityNetwork, find_weights, load_model
from qcs.samplers import ClassBatchSampler
from qcs.samplers.class_index import ClassIndex

BASE = "qcs_small.ferplus"
IMAGES_PER_STEP = 48
WARM_UP = 0.05  # of the steps, in which the learning rate rises from 0
KNOWN_LOSSES = 100  # last steps whose training loss is averaged
AUGMENTATION = Augmentation(resize=54, rotation=10.0, erasing=None, color_jitter=(0.2, 0.2, 0.0, 0.0))

NEUTRAL: dict[Form, str] = {"sham": "exemplars", "exemplars": "exemplars", "label-drawn": "unrelated"}
"""Partner images that say nothing of the label, by form: exemplars of every class, or training images at random."""


@dataclass(frozen=True)
class Size:
    """The size of the gate.

    Args:
        images: Number of training images whose tokens are computed, drawn at random.
        steps: Steps of 48 images that each second classifier is trained.
        lr: Peak learning rate.
        drop_rate: Dropout of the second classifier, that of the frozen network.
        draws: Sets of partner images that each validation image is classified with.
    """

    images: int = 12_000
    steps: int = 600
    lr: float = 1e-3
    drop_rate: float = 0.1
    draws: int = 2


@dataclass(frozen=True)
class Tokens:
    """Outputs of the frozen base network.

    Args:
        features: Tokens (n, N, C) in half precision.
        logits: Base logits (n, classes).
        labels: Majority label of each image, (n,).
        shares: Vote shares, (n, classes).
    """

    features: npt.NDArray[np.float16]
    logits: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    shares: npt.NDArray[np.float32]

    def of(self, rows: npt.ArrayLike) -> Tensor:
        """Return the tokens of some images in single precision."""
        return torch.from_numpy(self.features[np.asarray(rows)].astype(np.float32))


@dataclass(frozen=True)
class Gate:
    """Train and measure the second classifiers that have no result yet.

    Args:
        data: The images.
        results: Folder of one JSON file per form and seed.
        cache: Folder of the tokens.
        size: Numbers of images, steps and draws.
        base: Name of the frozen network's weights.
        console: Where to print progress.
    """

    data: Data
    results: Path
    cache: Path
    size: Size
    console: Console
    base: str = BASE

    def run(self, seeds: int) -> None:
        """Run every form of one seed before any of the next; a restart goes on where the last one stopped."""
        for seed in range(seeds):
            for form in FORMS:
                path = self.results / f"{form}-seed{seed}.json"
                if path.exists():
                    self._refuse_other_size(path)
                    continue
                record = self.run_one(form, seed)
                write_text(path, json.dumps(record, indent=1) + "\n")
                self.console.print(f"{path.stem}: {record['seconds']:.0f} s", highlight=False)

    def run_one(self, form: Form, seed: int) -> dict[str, Any]:
        """Train the second classifier of a form and measure it."""
        started = time.perf_counter()
        part, trained = self._trained(form, seed)
        validation = self.validation
        measured = {
            kind: _measures(self._logits(part, form, kind, seed), validation)
            for kind in dict.fromkeys((NEUTRAL[form], *(("label-drawn",) if form == "label-drawn" else ())))
        }
        return {
            "form": form,
            "seed": seed,
            "size": asdict(self.size),
            "base": {"weights": self.base, "sha256": sha256(find_weights(self.base))},
            "data": {"ferplus.npz": self.data.hashes("votes")["ferplus.npz"]},
            "train": {"images": len(self.train.labels), **trained},
            "validation": {"images": len(validation.labels), "labels": "".join(map(str, validation.labels.tolist()))},
            "measures": {"base": _measures(validation.logits[None], validation), **measured},
            "seconds": time.perf_counter() - started,
        }

    @cached_property
    def network(self) -> CrossSimilarityNetwork:
        """Return the frozen base network."""
        model = load_model(self.base).inference_model().eval().requires_grad_(False)
        use_plain_attention(model)
        return model

    @cached_property
    def train(self) -> Tokens:
        """Return the tokens of training images, augmented once."""
        images = self.data.vote_shares("train").with_classes(self.network.class_names)
        rows = np.sort(np.random.default_rng(0).permutation(len(images))[: self.size.images])
        augment = BatchedAugmentation(resolve_model_data_config(self.network), AUGMENTATION)

        def pixels(batch: LabeledImages, number: int) -> Tensor:
            stacked = np.stack([np.asarray(image) for image in batch.images])
            return augment(stacked, torch.Generator().manual_seed(number))

        return self._cached("train", images.subset(rows), pixels)

    @cached_property
    def validation(self) -> Tokens:
        """Return the tokens of the validation images that are no copies."""
        images = self.data.without_copies("validation").with_classes(self.network.class_names)
        transform = eval_transform(resolve_model_data_config(self.network))
        return self._cached(
            "validation",
            images,
            lambda batch, _: torch.stack([transform(batch.image(row)) for row in range(len(batch))]),
        )

    def _cached(self, name: str, images: LabeledImages, pixels: Callable[[LabeledImages, int], Tensor]) -> Tokens:
        """Compute tokens and logits, or read them from the cache."""
        path = self.cache / f"{name}-{len(images)}-{sha256(find_weights(self.base))[:12]}.npz"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            features, logits = _outputs(self.network, images, pixels)
            with replacing(path) as unfinished, unfinished.open("wb") as file:
                np.savez(file, features=features, logits=logits)
        with np.load(path) as found:
            assert images.soft is not None
            return Tokens(found["features"], found["logits"], images.labels, images.soft)

    def _trained(self, form: Form, seed: int) -> tuple[CrossPart, dict[str, float]]:
        """Return the second classifier of a form, and its training loss at the end beside that of the base."""
        tokens, size = self.train, self.size
        torch.manual_seed(seed)
        part = CrossPart(form, self.network, size.drop_rate)
        use_plain_attention(part)
        optimizer = torch.optim.AdamW(part.parameters(), lr=size.lr, weight_decay=0.0, fused=True)
        shares, exemplars = torch.from_numpy(tokens.shares), len(np.unique(tokens.labels))
        losses, base_losses = [], []
        for step, rows in enumerate(_batches(tokens.labels, seed, size.steps)):
            optimizer.param_groups[0]["lr"] = size.lr * schedule(step / size.steps)
            features = tokens.of(rows)
            partners = partners_in_batch(form, features, tokens.labels[rows], exemplars, (seed, step))
            compared, targets = rows[exemplars:], shares[rows[exemplars:]]
            loss = F.cross_entropy(part(features[exemplars:], partners), targets)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            losses.append(float(loss.detach()))
            base_losses.append(float(F.cross_entropy(torch.from_numpy(tokens.logits[compared]), targets)))
        ends = slice(-KNOWN_LOSSES, None)
        return part.eval(), {"loss": float(np.mean(losses[ends])), "base_loss": float(np.mean(base_losses[ends]))}

    @torch.inference_mode()
    def _logits(self, part: CrossPart, form: Form, kind: str, seed: int) -> npt.NDArray[np.float32]:
        """Return cross logits (draws, n, classes) of the validation images among partner images of a kind."""
        known, asked = self.train, self.validation
        index = ClassIndex(known.labels)
        found = np.empty((self.size.draws, len(asked.labels), asked.shares.shape[1]), np.float32)
        for draw in range(self.size.draws):
            rng = np.random.default_rng((seed, draw))
            order = rng.permutation(len(asked.labels))
            for rows in np.array_split(order, -(-len(order) // (IMAGES_PER_STEP - len(index.names)))):
                partners = [known.of(each) for each in _partners(kind, index, asked.labels[rows], rng)]
                found[draw, rows] = part(asked.of(rows), partners).numpy()
        return found

    def _refuse_other_size(self, path: Path) -> None:
        if (size := json.loads(path.read_text())["size"]) != asdict(self.size):
            raise InputError(f"{path} has another size, {size}; choose another folder with --results")


def _outputs(
    network: CrossSimilarityNetwork, images: LabeledImages, pixels: Callable[[LabeledImages, int], Tensor]
) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.float32]]:
    features, logits = [], []
    with torch.inference_mode():
        for number, rows in enumerate(np.array_split(np.arange(len(images)), -(-len(images) // 100))):
            tokens = network.forward_features(pixels(images.subset(rows), number))
            features.append(tokens[:, 1:].numpy().astype(np.float16))
            logits.append(network.forward_head(tokens).numpy())
    return np.concatenate(features), np.concatenate(logits)


def _batches(labels: npt.NDArray[np.int64], seed: int, steps: int) -> Iterator[list[int]]:
    """Yield the rows of each step, epoch after epoch."""
    sampler, done = ClassBatchSampler(labels, IMAGES_PER_STEP, seed=seed), 0
    while done < steps:
        sampler.set_epoch(done // len(sampler))
        for rows in sampler:
            if done == steps:
                return
            done += 1
            yield rows


def schedule(progress: float) -> float:
    """Return the factor of the learning rate: it rises linearly, and a cosine takes it to 0."""
    return float(min(1.0, progress / WARM_UP) * 0.5 * (1 + np.cos(np.pi * progress)))


def _partners(
    kind: str, index: ClassIndex, labels: npt.NDArray[np.int64], rng: np.random.Generator
) -> list[npt.NDArray[np.int64]]:
    """Draw the rows of training images that validation images of these labels are compared with."""
    if kind == "exemplars":
        return [index.draw_members(rng, np.arange(len(index.names)))]
    if kind == "unrelated":
        return list(rng.integers(0, len(index), size=(3, len(labels))))
    positives = index.draw_members(rng, np.searchsorted(index.names, labels))
    negatives = index.draw_cross_class(rng, positives)
    return [positives, negatives, index.draw_same_class(rng, negatives)]


def _measures(logits: npt.NDArray[np.float32], tokens: Tokens) -> dict[str, Any]:
    """Return the measures of logits (draws, n, classes): means over draws, and for each image loss and accuracy."""
    losses = cross_fitted_losses(logits, tokens.shares).mean(0)
    right = (logits.argmax(-1) == tokens.labels).mean(0)
    return {
        "nll": float(losses.mean()),
        "accuracy": float(right.mean()),
        "balanced_accuracy": balanced_accuracy(right, tokens.labels),
        "losses": packed(losses),
        "right": packed(right),
    }


# ---- summary


def summary(results: Path) -> str:
    """Return the table of all finished runs in Markdown.

    Raises:
        InputError: If there is no run.
    """
    records = _read(results)
    rows = [_base_row(records)]
    rows += [_row(records, form, kind) for form, kind in _measured(records)]
    header = (
        "classifier",
        "partner images",
        "seeds",
        "training loss",
        "NLL",
        "NLL − base",
        "NLL − sham",
        "accuracy %",
        "balanced %",
    )
    return table((*header, "accuracy − base, points"), rows)


def passing(results: Path) -> tuple[Literal["base"] | Form, ...]:
    """Return the planned arms: "base", "sham" and the forms that pass the gate."""
    records = _read(results)
    return ("base", "sham", *(form for form in FORMS if form != "sham" and passes(records, form)))


def passes(records: list[dict[str, Any]], form: Form) -> bool:
    """Return whether a form passes: the interval of its NLL minus that of the base lies below zero."""
    found = interval(_differences(records, form, NEUTRAL[form], "losses"))
    return found["mean"] + found["margin"] < 0


def _read(results: Path) -> list[dict[str, Any]]:
    records = [json.loads(path.read_text()) for path in sorted(results.glob("*.json"))]
    if not records:
        raise InputError(f"{results} has no results; run the gate first")
    return records


def _measured(records: list[dict[str, Any]]) -> list[tuple[Form, str]]:
    """Return the forms with their kinds of partner images, those that say nothing of the label first."""
    present = {record["form"] for record in records}
    return [(form, NEUTRAL[form]) for form in FORMS if form in present] + [
        ("label-drawn", "label-drawn") for form in ("label-drawn",) if form in present
    ]


def _base_row(records: list[dict[str, Any]]) -> tuple[str, ...]:
    base = records[0]["measures"]["base"]
    loss = np.mean(list({record["seed"]: record["train"]["base_loss"] for record in records}.values()))
    return ("base", "none", "", f"{loss:.3f}", f"{base['nll']:.4f}", "", "", *_percent([base]), "")


def _percent(measures: list[dict[str, Any]]) -> tuple[str, str]:
    """Return mean accuracy and balanced accuracy in percent."""
    accuracy, balanced = (np.mean([each[what] for each in measures]) for what in ("accuracy", "balanced_accuracy"))
    return f"{100 * accuracy:.2f}", f"{100 * balanced:.2f}"


def _row(records: list[dict[str, Any]], form: Form, kind: str) -> tuple[str, ...]:
    own = [record for record in records if record["form"] == form]
    measures = [record["measures"][kind] for record in own]
    against_sham = "" if form == "sham" else _signed(_from_sham(records, form, kind))
    return (
        form,
        kind,
        str(len(own)),
        f"{np.mean([record['train']['loss'] for record in own]):.3f}",
        f"{np.mean([each['nll'] for each in measures]):.4f}",
        _signed(_differences(records, form, kind, "losses")),
        against_sham,
        *_percent(measures),
        _signed(100 * _differences(records, form, kind, "right"), digits=2),
    )


def _differences(records: list[dict[str, Any]], form: Form, kind: str, what: str) -> npt.NDArray[np.float64]:
    """Return the mean over seeds of each image's difference from the base."""
    own = [record["measures"] for record in records if record["form"] == form]
    return np.mean([unpacked(each[kind][what]) - unpacked(each["base"][what]) for each in own], axis=0)


def _from_sham(records: list[dict[str, Any]], form: Form, kind: str) -> npt.NDArray[np.float64]:
    """Return the mean of each image's difference from the sham, over the seeds that both have."""
    by_seed = {
        each: {record["seed"]: record["measures"] for record in records if record["form"] == each}
        for each in (form, "sham")
    }
    shared = sorted(by_seed[form].keys() & by_seed["sham"].keys())
    pairs = [(by_seed[form][seed][kind], by_seed["sham"][seed][NEUTRAL["sham"]]) for seed in shared]
    return np.mean([unpacked(a["losses"]) - unpacked(b["losses"]) for a, b in pairs], axis=0)


def _signed(differences: npt.NDArray[np.float64], digits: int = 4) -> str:
    found = interval(differences)
    return f"{found['mean']:+.{digits}f} ± {found['margin']:.{digits}f}"
