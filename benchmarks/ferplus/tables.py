"""Write the page of results from the files of the runs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ferplus.corruptions import SEVERITY
from benchmarks.ferplus.measure import correct
from benchmarks.ferplus.plan import GROUPS, PLAN, START_VIEWS, Condition, condition
from benchmarks.ferplus.shortcut import WEARERS
from benchmarks.ferplus.statistics import LEVEL, Difference, clear, difference, spread
from qcs.errors import InputError
from qcs.report.statistics import adjusted

Record = Mapping[str, Any]
Runs = Mapping[str, Mapping[int, Record]]
"""Records by condition and seed."""
Value = Callable[[Record], float | None]

NONE = "–"
COMPARED = ("", "seeds", "accuracy", "balanced", "difference", "p runs", "p images", "balanced difference", "against")
ALIKE = {
    "budget": "budget",
    "threads": "number of threads",
    "precision": "precision",
    "versions": "set of versions",
    "data": "data",
    "start": "start",
}
"""Fields that all records share, and their names in messages."""


def read(results: Path) -> Runs:
    """Return the records in a folder; none if the folder does not exist.

    Raises:
        InputError: If a file is not a result of this plan, or budgets differ.
    """
    runs: dict[str, dict[int, Record]] = {}
    known = {condition.name for condition in PLAN}
    for path in sorted(results.glob("*.json")):
        try:
            record = json.loads(path.read_text())
            name, seed, _ = record["condition"], record["seed"], record["budget"]["views"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is not a result of a run: {error!r}") from error
        if name not in known:
            raise InputError(f"{path} has the condition {name!r}, which is not in the plan")
        runs.setdefault(name, {})[seed] = record
    for what, named in ALIKE.items():
        if len(found := {json.dumps(value, sort_keys=True) for value in _each(runs, what)}) > 1:
            raise InputError(f"{results} holds results of more than one {named}: {'; '.join(sorted(found))}")
    return runs


def read_partners(folder: Path) -> Runs:
    """Return the measurements of `partners` by condition and seed.

    Raises:
        InputError: If a file is not one of these measurements.
    """
    runs: dict[str, dict[int, Record]] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            record = json.loads(path.read_text())
            runs.setdefault(record["condition"], {})[record["seed"]] = record
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is not a result of `partners`: {error!r}") from error
    return runs


def page(runs: Runs, partners: Runs | None = None) -> str:
    """Return the page in Markdown."""
    made = (make(runs) for make in (_main, likelihood, _others, _classes, _labels, _shortcut))
    sections = [_head(runs), *made, _partners(partners or {}), _training(runs), _missing(runs)]
    return "\n\n".join(section for section in sections if section) + "\n"


def _head(runs: Runs) -> str:
    text = (
        "# All tables\n\n"
        "`python -m benchmarks.ferplus tables` writes this page from the files in `benchmarks/ferplus/results/`. "
        "[Results](results.md) has a summary; [the experiment](experiment.md) describes the conditions."
    )
    if not runs:
        return f"{text}\n\nNo run has finished yet."
    record = next(_records(runs))
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    hashes = "; ".join(f"{name} `{digest[:12]}`" for name, digest in _hashes(runs).items())
    return (
        f"{text}\n\n"
        f"Every run: {record['budget']['views']:,} image views (the start: {START_VIEWS:,}), "
        f"{record['images_per_step']} images per step, networks of size "
        f"`{record['budget']['network']}`, {record['precision']}, threads: {record['threads']}; {versions}. "
        f"Data (SHA-256): {hashes}.\n\n"
        "Entries are mean ± standard deviation (n − 1) over seeds, in percent; differences have their standard error. "
        "The p value *runs* is the paired t test over seeds and concerns the training method. The p value *images* is "
        "the paired test over test images, where each image counts once, by how many more seeds classified it "
        "correctly; it concerns these particular networks. Neither is corrected for the number of comparisons. The "
        "sentence below the first table is."
    )


def main_conditions(runs: Runs) -> list[Condition]:
    """Return the conditions of the first table that have runs."""
    return [c for c in PLAN if c.name in runs and c.group not in ("labels", "shortcut")]


def _main(runs: Runs) -> str:
    conditions = main_conditions(runs)
    if not conditions:
        return ""
    parts = [
        "## FERPlus test images",
        "Official test split, official majority labels, one view per image.",
        table(COMPARED, _rows(runs, conditions)),
        *(f"- {group}: {GROUPS[group]}" for group in GROUPS if any(c.group == group for c in conditions)),
    ]
    return "\n\n".join(parts[:3]) + "\n\n" + "\n".join(parts[3:]) + _verdict(runs, conditions)


def _rows(runs: Runs, conditions: Iterable[Condition]) -> list[tuple[str, ...]]:
    """Return a row per condition and baseline; the row has no difference if there is no baseline."""
    pairs = [(c, other) for c in conditions for other in [o for o in c.against if o in runs] or [""]]
    return [_row(runs, condition, other) for condition, other in pairs]


def _row(runs: Runs, condition: Condition, other: str) -> tuple[str, ...]:
    accuracy, balanced = _of("test", "accuracy"), _of("test", "balanced_accuracy")
    found, also = (_difference(runs, condition.name, other, value) for value in (accuracy, balanced))
    return (
        f"`{condition.name}`",
        str(len(runs[condition.name])),
        _spread(runs, condition, accuracy),
        _spread(runs, condition, balanced),
        _shown(found),
        _p(found.over_runs) if found else NONE,
        _p(found.over_images) if found else NONE,
        _shown(also),
        f"`{other}`" if found else NONE,
    )


Pairs = list[tuple[str, str]]


def verdict(runs: Runs, conditions: Iterable[Condition]) -> tuple[Pairs, Pairs, Pairs]:
    """Return the comparisons that are clearly above their baselines, clearly below, and neither."""
    pairs = [(c.name, other) for c in conditions for other in c.against]
    found = {pair: compared(runs, *pair, "accuracy") for pair in pairs}
    several = {pair: d for pair, d in found.items() if d is not None and not math.isnan(d.error)}
    sure = dict(zip(several, clear([d.over_runs for d in several.values()]) if several else (), strict=True))
    return (
        [pair for pair, d in several.items() if sure[pair] and d.mean > 0],
        [pair for pair, d in several.items() if sure[pair] and d.mean < 0],
        [pair for pair in several if not sure[pair]],
    )


def _verdict(runs: Runs, conditions: Iterable[Condition]) -> str:
    """State which differences from the baselines are clear over the seeds."""
    found = verdict(runs, conditions)
    if not (count := sum(map(len, found))):
        return ""
    kinds = ("above its baseline", "below its baseline", "no clear difference")
    text = "; ".join(f"{kind}: {named(pairs)}" for kind, pairs in zip(kinds, found, strict=True))
    return (
        f"\n\nClear differences in accuracy (paired t test over seeds, p below {LEVEL} after the Benjamini-Hochberg "
        f"correction for the {count} comparisons of this table): {text}."
    )


def named(pairs: Sequence[tuple[str, str]]) -> str:
    """List conditions, with their baselines where that is not the base."""
    return ", ".join(f"`{a}`" + (f" (against `{b}`)" if b != "base" else "") for a, b in pairs) or "none"


def likelihood(runs: Runs) -> str:
    """Return the section on the likelihood of the test labels, with the paired test over seeds."""
    if not (found := _likelihoods(runs)):
        return ""
    rows = [
        (
            f"`{name}`",
            _spread(runs, condition(name), NLL, 1, 4),
            f"{d.mean:+.4f} ± {d.error:.4f}",
            _p(d.over_runs),
            _p(corrected),
            f"`{other}`",
        )
        for (name, other), (d, corrected) in found.items()
    ]
    return "\n\n".join(
        (
            "## Likelihood of the test labels",
            "Mean negative log-likelihood (NLL) of the majority labels in nats; lower is better. It uses the whole "
            "distribution of each image, so it shows differences that accuracy cannot. No temperature is fitted, so it "
            "mixes how sure a network is with what it knows. Differences have their standard error over seeds; the "
            "last p value is corrected for all comparisons of this table (Benjamini-Hochberg).",
            table(("", "NLL", "difference", "p runs", "p corrected", "against"), rows),
            likelihood_answer(runs),
        )
    )


def likelihood_answer(runs: Runs) -> str:
    """State how many comparisons differ clearly in likelihood, and how the main one does; empty without seeds."""
    if not (found := _likelihoods(runs)):
        return ""
    sure = {pair: d for pair, (d, p) in found.items() if p < LEVEL}
    worse = sum(d.mean > 0 for d in sure.values())
    text = (
        f"In the likelihood of the test labels, {len(sure)} of {len(found)} comparisons differ clearly, {worse} of "
        "them for the worse."
    )
    if main := found.get(("qcs", "base")):
        d, p = main
        text += f" QCS against its base: NLL {d.mean:+.4f} ± {d.error:.4f} nats (p {_p(p)} after correction)."
    return text


def _likelihoods(runs: Runs) -> dict[tuple[str, str], tuple[Difference, float]]:
    """Return the differences in NLL of the first table's comparisons, each with its corrected p value."""
    pairs = [(c.name, other) for c in main_conditions(runs) for other in c.against if other in runs]
    found = {pair: _difference(runs, *pair, NLL) for pair in pairs if _has_loss(runs, pair)}
    several = {pair: d for pair, d in found.items() if d is not None and not math.isnan(d.over_runs)}
    corrected = adjusted([d.over_runs for d in several.values()])
    return {pair: (d, p) for (pair, d), p in zip(several.items(), corrected, strict=True)}


def _has_loss(runs: Runs, pair: tuple[str, str]) -> bool:
    return all(NLL(record) is not None for name in pair for record in runs[name].values())


def _others(runs: Runs) -> str:
    conditions = [c for c in PLAN if c.name in runs and c.group != "shortcut"]
    if not conditions:
        return ""
    columns: dict[str, Value] = {
        "TTA": _of("flipped", "accuracy"),
        "no copies": _of("unseen", "accuracy"),
        "no copies, balanced": _of("unseen", "balanced_accuracy"),
        "ECE": _of("calibration_error"),
        "muxspace": _of("muxspace", "accuracy"),
        "muxspace, balanced": _of("muxspace", "balanced_accuracy"),
        **{name: _of(name, "accuracy") for name in SEVERITY},
    }
    rows = [(f"`{c.name}`", *(_spread(runs, c, value) for value in columns.values())) for c in conditions]
    first = next(iter(runs[conditions[0].name].values()))["measures"]
    return "\n\n".join(
        (
            "## Other measures",
            "Accuracy with test-time augmentation (TTA, horizontal flip); on the "
            f"{first['unseen']['images']:,} of {first['test']['images']:,} test images that are not exact copies of "
            f"training images; on {first['muxspace']['images']:,} images of muxspace, never trained on, among its "
            f"classes; and on corrupted test images ({'; '.join(f'{name}: {how}' for name, how in SEVERITY.items())}). "
            "ECE is the expected calibration error. muxspace mixes two sources that differ widely, news photographs "
            "and film frames; these files keep only their total. [Results](results.md) has the weights in the package "
            "by source.",
            table(("", *columns), rows),
        )
    )


def _classes(runs: Runs) -> str:
    conditions = [c for c in PLAN if c.name in runs and c.group == "core"]
    if not conditions:
        return ""
    names = list(next(iter(runs[conditions[0].name].values()))["measures"]["test"]["per_class_accuracy"])
    rows = [
        (f"`{c.name}`", *(_spread(runs, c, _of("test", "per_class_accuracy", name)) for name in names))
        for c in conditions
    ]
    return "\n\n".join(("## Per class", "Accuracy on the test images of each class.", table(("", *names), rows)))


def _labels(runs: Runs) -> str:
    conditions = [c for c in PLAN if c.name in runs and c.group == "labels"]
    if not conditions:
        return ""
    return "\n\n".join(
        (
            "## Noisy labels",
            "Trained on one label per image: the majority of the votes, or the old FER2013 label. About a third of the "
            "FER2013 labels disagree with the majority. Selected on validation images and tested with official "
            "majority labels. All start from random weights and end far below the other runs, so this says nothing "
            "about label noise in networks that are trained to the end.",
            table(COMPARED, _rows(runs, conditions)),
        )
    )


def _shortcut(runs: Runs) -> str:
    conditions = [c for c in PLAN if c.name in runs and c.group == "shortcut"]
    if not conditions:
        return ""
    columns: dict[str, Value] = {
        "coinciding": _of("coinciding"),
        "conflicting": _of("conflicting"),
        "drop": lambda record: record["measures"]["coinciding"] - record["measures"]["conflicting"],
        f"predicted {WEARERS}, glasses": _of("called"),
        f"predicted {WEARERS}, no glasses": _of("called_without"),
    }
    rows = [
        (
            f"`{c.name}`",
            str(len(runs[c.name])),
            *(_spread(runs, c, value) for value in columns.values()),
            *(_spread(runs, c, _of(name), 1) for name in ("saliency", "attention")),
        )
        for c in conditions
    ]
    return "\n\n".join(
        (
            "## A shortcut on synthetic faces",
            f"In training, all faces of {WEARERS} wear glasses and no other faces do; the test set has every class "
            "with and without. The table lists the accuracy where glasses coincide with the class as in training, and "
            f"where they conflict; the percentage of faces of other classes predicted as {WEARERS}, with and without "
            "glasses; and how much of the magnitude of the input gradient, and of the cross attention, falls on brows, "
            "eyes and mouth, in multiples of the fraction of the image that they cover.",
            table(("", "seeds", *columns, "gradient", "cross attention"), rows),
        )
    )


def _partners(runs: Runs) -> str:
    conditions = [c for c in PLAN if c.name in runs]
    if not conditions:
        return ""
    columns: dict[str, tuple[Value, float]] = {
        "base": (_of("base"), 100),
        "cross": (_of("cross"), 100),
        "cross, random partners": (_of("cross_random_partners"), 100),
        "gradient ratio": (_of("gradient_ratio"), 1),
        "gradient cosine": (_of("gradient_cosine"), 1),
    }
    rows = [
        (f"`{c.name}`", str(len(runs[c.name])), *(_spread(runs, c, value, scale) for value, scale in columns.values()))
        for c in conditions
    ]
    return "\n\n".join(
        (
            "## Partner images",
            "Accuracy on test images sampled into pairs or quadruplets as in training: of the base classifier, of the "
            "cross classifier, and of the cross classifier with random partners, where the same images are assigned at "
            "random. Rare classes are more frequent here than in the first table. The last columns compare the "
            "gradients of the cross loss and the base loss with respect to the backbone's parameters: the ratio of "
            "their norms, and the cosine between them.",
            table(("", "seeds", *columns), rows),
        )
    )


def _training(runs: Runs) -> str:
    """Return the training losses of both classifiers at the end of the runs that compare images."""
    conditions = [c for c in PLAN if c.name in runs and c.branches > 1]
    losses = {kind: _at_end(f"train_{kind}_loss") for kind in ("base", "cross")}
    rows = [
        (f"`{c.name}`", *(_spread(runs, c, value, 1, 3) for value in losses.values()))
        for c in conditions
        if all(value(record) is not None for value in losses.values() for record in runs[c.name].values())
    ]
    if not rows:
        return ""
    return "\n\n".join(
        (
            "## Training losses",
            "Cross entropy of both classifiers on the augmented training images of the last epoch. The method supposes "
            "that the cross classifier fits the images better than the base classifier does.",
            table(("", "base", "cross"), rows),
        )
    )


def _at_end(name: str) -> Value:
    """Return a function that reads a field of the last epoch; it returns None where the field is missing."""
    return lambda record: (record.get("history") or [{}])[-1].get(name)


def _missing(runs: Runs) -> str:
    """List the conditions that have fewer seeds than others."""
    seeds = max((len(found) for found in runs.values()), default=0)
    counts = {c.name: len(runs.get(c.name, ())) for c in PLAN}
    wanted = {c.name: min(seeds, 1) if c.is_start else seeds for c in PLAN}
    if not (few := [f"`{name}` ({count})" for name, count in counts.items() if count < wanted[name]]):
        return ""
    return f"## Not run\n\nConditions with fewer seeds than {seeds}, and how many they have: {', '.join(few)}."


def _of(*path: str) -> Value:
    """Return a function that reads a field of the measures; it returns None where the field is missing."""

    def value(record: Record) -> float | None:
        found: Any = record["measures"]
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
        return found

    return value


NLL = _of("test", "loss")


def spread_of(runs: Runs, name: str, measure: str) -> str:
    """Return mean and standard deviation of a measure of the test images."""
    return _spread(runs, condition(name), _of("test", measure))


def compared(runs: Runs, name: str, other: str, measure: str) -> Difference | None:
    """Return the difference of a measure of the test images over the seeds that both conditions have."""
    return _difference(runs, name, other, _of("test", measure)) if name in runs else None


def _spread(runs: Runs, condition: Condition, value: Value, scale: float = 100, digits: int = 2) -> str:
    values = [found for record in runs[condition.name].values() if (found := value(record)) is not None]
    if not values:
        return NONE
    mean, deviation = (scale * number for number in spread(values))
    return f"{mean:.{digits}f}" if math.isnan(deviation) else f"{mean:.{digits}f} ± {deviation:.{digits}f}"


def _difference(runs: Runs, name: str, other: str, value: Value) -> Difference | None:
    """Return the difference over the seeds that both have; None if there are none."""
    mine, others = runs[name], runs.get(other, {})
    seeds = sorted(mine.keys() & others.keys())
    if not seeds:
        return None
    values = [[value(side[seed]) for seed in seeds] for side in (mine, others)]
    images = [np.stack([correct(side[seed]["measures"]["predictions"]) for seed in seeds]) for side in (mine, others)]
    return difference(*values, *images)  # type: ignore[arg-type] # every run has these measures


def _shown(found: Difference | None) -> str:
    if found is None:
        return NONE
    error = "" if math.isnan(found.error) else f" ± {100 * found.error:.2f}"
    return f"{100 * found.mean:+.2f}{error}"


def _p(value: float) -> str:
    if math.isnan(value):
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _records(runs: Runs) -> Iterator[Record]:
    return (record for records in runs.values() for record in records.values())


def _each(runs: Runs, what: str) -> list[Any]:
    """Return a field of all records that have it; `data` only of FERPlus runs, as synthetic faces are other data."""
    alike = [record for record in _records(runs) if what != "data" or "ferplus.npz" in record["data"]]
    return [record[what] for record in alike if record.get(what) is not None]


def _hashes(runs: Runs) -> dict[str, str]:
    return dict(sorted(item for record in _records(runs) for item in record["data"].items()))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
