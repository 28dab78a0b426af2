"""Describe the weights in the package from the record of `audit`: every number in these texts is in that file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks.ferplus.audit import FOLDER, OTHERS, RARE

Record = Mapping[str, Any]
SOURCES = {"lfw": "news photographs", "imfdb": "film frames"}
HEADER = ("evaluation set", "images", "accuracy", "balanced accuracy", "NLL", "ECE")


def source(record: Record) -> str:
    """Return the line that names the file of all figures around it."""
    return (
        f"Source: `benchmarks/ferplus/results/{FOLDER}/{record['name']}.json` (`python -m benchmarks.ferplus audit`)."
    )


def lineage(record: Record) -> str:
    """Return all networks that the weights come from, the first trained first, as a numbered list."""
    minutes = sum(run["minutes"] for run in record["lineage"])
    lines = [f"{number}. {_run(run)}" for number, run in enumerate(record["lineage"], 1)]
    networks = "one network" if len(lines) == 1 else f"{len(lines)} networks"
    return f"These weights come from {networks}, {minutes:g} minutes in total on one CPU core:\n\n" + "\n".join(lines)


def measures(record: Record) -> str:
    """Return the table of accuracy, balanced accuracy, likelihood and calibration with 95% intervals."""
    sets = record["networks"]["now"]["sets"]
    return table(HEADER, [_row(_named(name, record), sets[name]) for name in sorted(sets, key=_place)])


def classes(record: Record) -> str:
    """Return recall by class: of the test images, and of muxspace by source."""
    sets = record["networks"]["now"]["sets"]
    shown = ["test, no copies", *(name for name in sets if _is_source(name))]
    rows = [
        [name, *(_recall(sets[each]["per_class"].get(name)) for each in ("test", *shown))]
        for name in sets["test"]["per_class"]
    ]
    names = ["FERPlus test", "without copies", *(f"muxspace, {_of_source(name)}" for name in shown[1:])]
    return table(["class", *names], rows)


def calibration(record: Record) -> str:
    """Return what is known about the confidence, at home and on other faces."""
    now = record["networks"]["now"]
    gap, test = now["sets"]["test"]["overconfidence"][0], now["sets"]["test"]["ece"][0]
    which = "less" if gap < 0 else "more"
    cooled, away = now["at_temperature"], [name for name in now["at_temperature"] if name.startswith("muxspace")]
    rows = []
    for name in ("test", "test, no copies", *away):
        before = now["sets"][name]
        errors = (f"{each['ece'][0]:.3f}" for each in (before, cooled[name]))
        rows.append([_named(name, record), _points(before["overconfidence"]), *errors])
    return (
        f"**Calibration.** On FERPlus test images the network is {which} confident than it is accurate: the mean "
        f"confidence is {abs(100 * gap):.1f} points {'below' if gap < 0 else 'above'} the accuracy, and the expected "
        f"calibration error (ECE) is {test:.3f}. The last column is the ECE at the temperature "
        f"{now['temperature']:.2f}, which fits the labels of the validation images. The file states it; prediction, "
        f"evaluation and export apply it. At home the error becomes {cooled['test']['ece'][0]:.3f}. On other faces it "
        f"need not become smaller: on muxspace it goes from {now['sets']['muxspace']['ece'][0]:.3f} to "
        f"{cooled['muxspace']['ece'][0]:.3f}.\n\n"
        + table(["evaluation set", "confidence minus accuracy, points", "ECE", "ECE, at temperature"], rows)
    )


def comparison(record: Record) -> str:
    """Return what is better and what is worse than with the weights that they are compared with, if any."""
    if "former" not in record["networks"]:
        return ""
    now, former = (record["networks"][name]["sets"] for name in ("now", "former"))
    names = ("test", "test, TTA", "test, no copies", *(name for name in now if _is_source(name) or name == "muxspace"))
    rows = []
    for name in names:
        pairs = [(former[name][what], now[name][what]) for what in ("accuracy", "balanced_accuracy", "ece")]
        cells = [f"{_short(what, a)} → {_short(what, b)}" for what, (a, b) in zip("abe", pairs, strict=True)]
        rows.append([_named(name, record), *cells])
    counts = [
        [
            name,
            *(f"{side['test']['per_class'][name][0]}" for side in (former, now)),
            str(now["test"]["per_class"][name][1]),
        ]
        for name in RARE
    ]
    every, rare = record["paired"]["all classes"], record["paired"]["rare classes"]
    return (
        f"**Compared with {record['former']}**, accuracy {_moved(former, now, 'accuracy')}, balanced accuracy "
        f"{_moved(former, now, 'balanced_accuracy')} and the calibration error {_moved(former, now, 'ece')}. Of the "
        f"{rare['images']} test images of {', '.join(RARE[:-1])} and {RARE[-1]}, {rare['gained']} are newly right and "
        f"{rare['lost']} newly wrong (McNemar's exact test, p {_p(rare['p'])}); of all {every['images']:,}, "
        f"{every['gained']} and {every['lost']} (p {_p(every['p'])}).\n\n"
        + table([f"{record['former']} → these", "accuracy", "balanced accuracy", "ECE"], rows)
        + "\n\n"
        + table(["rare class, images recognized", record["former"], "these", "of"], counts)
        + "\n\n"
        + table(["corrupted test images, mean accuracy", record["former"], "these"], _corrupted(record))
    )


def _corrupted(record: Record) -> Iterator[list[str]]:
    """Yield the mean accuracy over the kinds of corruption by group, before and now."""
    former, now = (record["networks"][name]["corrupted"] for name in ("former", "now"))
    words = {
        "corruptions": "blur, noise, low light, a gray square",
        "unseen occlusions": "occlusions that no training saw",
        "all": "all of them",
    }
    for name, shown in words.items():
        yield [shown, _percent(former[name]), _percent(now[name])]


def partners(record: Record) -> str:
    """Return what the cross classifiers of the weights do with partner images drawn by label and at random."""
    names = {"now": "weights in the package", "former": "weights before, 85 minutes of QCS from random weights"}
    rows = [
        [names[name], *(f"{network['partners'][what]:.2%}" for what in ("base", "cross", "cross_random_partners"))]
        for name, network in record["networks"].items()
    ]
    return table(["`qcs_small`", "base", "cross", "cross, random partners"], rows)


def copies(record: Record) -> str:
    """Return how many test images have a pixel-identical copy elsewhere."""
    found = record["copies"]
    return (
        f"{found['test in train']} test images have a pixel-identical copy in training, {found['test in validation']} "
        f"in validation, {found['test in any other']} in either; {found['groups_across']} is the number of different "
        "pictures that occur in more than one split, not of test images."
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *rows))


def _row(name: str, found: Mapping[str, Any]) -> list[str]:
    cells = [_percent(found[what]) for what in ("accuracy", "balanced_accuracy")]
    return [name, f"{found['images']:,}", *cells, *(_plain(found[what]) for what in ("nll", "ece"))]


def _named(name: str, record: Record) -> str:
    first, *rest = name.split(", ")
    words = {
        "validation": "FERPlus validation, on which the weights were selected",
        "test": "FERPlus test",
        "muxspace": "muxspace, never trained on" + ("" if {*rest} & SOURCES.keys() else ", all sources"),
        "TTA": "test-time augmentation (horizontal flip)",
        "no copies": f"without the {record['copies']['test in any other']} copies",
        "occlusion": "occlusion, a gray square",
        OTHERS: "people not used to choose the weights",
        **SOURCES,
    }
    return ", ".join(words.get(part, part) for part in (first, *rest))


def _place(name: str) -> tuple[bool, bool, bool, str]:
    """Return where a set is in the table: validation, test, muxspace and its sources, then changed test images."""
    first, *rest = name.split(", ")
    changed = first == "test" and bool({*rest} - {"TTA", "no copies"})
    return first != "validation", changed, first != "test", name


def _is_source(name: str) -> bool:
    return name.startswith("muxspace, ") and not {"TTA", OTHERS} & {*name.split(", ")}


def _of_source(name: str) -> str:
    return SOURCES.get(name.partition(", ")[2], name.partition(", ")[2])


def _run(run: Mapping[str, Any]) -> str:
    random = "pretrained weights of its backbone" if run["pretrained_backbone"] else "random weights"
    start = random if run["init"] is None else f"network {run['init'] + 1}"
    text = f"`{run['model']}`, {run['minutes']:g} minutes from {start}"
    if run["teachers"]:
        teachers = " and ".join(str(index + 1) for index in run["teachers"])
        text += f"; {run['teacher_share']:.0%} of each target from networks {teachers}"
    return text + ("; parts of training images erased" if run["erasing"] else "")


def _recall(counts: Sequence[int] | None) -> str:
    return "–" if counts is None else f"{counts[0] / counts[1]:.1%} of {counts[1]:,}"


def _percent(value: Sequence[float]) -> str:
    middle, low, high = (100 * each for each in value)
    return f"{middle:.1f}% ({low:.1f} to {high:.1f})"


def _plain(value: Sequence[float]) -> str:
    middle, low, high = value
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


def _points(value: Sequence[float]) -> str:
    middle, low, high = (100 * each for each in value)
    return f"{middle:+.1f} ({low:+.1f} to {high:+.1f})"


def _short(what: str, value: Sequence[float]) -> str:
    return f"{value[0]:.3f}" if what == "e" else f"{value[0]:.1%}"


def _moved(former: Record, now: Record, what: str) -> str:
    return "rose" if now["test"][what][0] > former["test"][what][0] else "fell"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
