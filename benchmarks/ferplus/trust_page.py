"""Write the page on the reliability of the answers from the record of `trust`: every number there is in that file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.ferplus.trust import FOLDER
from benchmarks.ferplus.weights_page import SOURCES, table
from qcs.faces import QualityGate

PAGE = "reliability.md"
Record = Mapping[str, Any]

HEAD = """# How reliable the answers are

How far the probabilities of the weights in the package can be taken at their word, on the images that they were
calibrated for and on other faces. The calibration was fitted to FERPlus validation images; FERPlus test images are of
the same kind, muxspace holds news photographs and film frames that were used for nothing. The commands are described in
[calibration and uncertainty](calibration.md).
"""


def page(record: Record, gate: Record, enrollment: Record) -> str:
    """Return the page, as Markdown, from the records of `trust`, `quality` and `enroll`."""
    parts = [calibration(record), coverage(record), abstention(record), quality(gate)]
    parts += [votes(record), enroll(enrollment)]
    return "\n\n".join([HEAD.rstrip(), *parts]) + "\n"


def source(record: Record) -> str:
    """Return the line that names the file of all figures around it."""
    return (
        f"Source: `benchmarks/ferplus/results/{FOLDER}/{record['name']}.json` (`python -m benchmarks.ferplus trust`)."
    )


def calibration(record: Record) -> str:
    """Return the section on scores before and after calibration."""
    scores, stated = record["scores"], record["calibration"]
    kinds = {"uncalibrated": "none", "label": "label", "vector": "label, vector scaling", "votes": "votes"}
    rows = [
        [named(name), words, *(f"{scores[name][kind][what]:.3f}" for what in ("ece", "brier", "nll"))]
        for name in scores
        for kind, words in kinds.items()
    ]
    label, votes = 1 / stated["label"]["scale"][0], 1 / stated["votes"]["scale"][0]
    away = [name for name in scores if name.startswith("muxspace, ")]
    return (
        "## Calibration\n\n"
        f"{source(record)}\n\n"
        f"The temperature that fits the labels of the {stated['images']:,} validation images is {label:.2f}; the one "
        f"that fits the votes is {votes:.2f}. With the first, which predictions use, the expected calibration error "
        f"(ECE) on FERPlus test images goes {_moved(scores['test'])}. Other faces were not part of the fit, and "
        f"nothing is promised for them: on muxspace the error goes {_moved(scores['muxspace'])}, of which on "
        + " and on ".join(f"{SOURCES[name.partition(', ')[2]]} {_moved(scores[name])}" for name in away)
        + ". **Calibrate on labeled images of your own kind.** The votes ask for less certainty than the label of the "
        f"majority: at their temperature the ECE on test images is {scores['test']['votes']['ece']:.3f}.\n\n"
        + table(["images", "fitted to", "ECE", "Brier score", "NLL"], rows)
    )


def coverage(record: Record) -> str:
    """Return the section on sets of labels."""
    rows = []
    for name, levels in record["coverage"].items():
        for level, kinds in levels.items():
            sets, adaptive = kinds["lac"], kinds["aps"]
            middle, low, high = (100 * value for value in sets["covered"])
            least = sets["least"]
            rows.append(
                [
                    named(name),
                    f"{100 * float(level):g}%",
                    f"{middle:.1f}% ({low:.1f} to {high:.1f})",
                    f"{sets['labels']:.2f}",
                    f"{100 * sets['one label']:.1f}%",
                    f"{least['class']} {100 * least['covered']:.1f}% of {least['images']:,}",
                    f"{100 * adaptive['covered'][0]:.1f}%, {adaptive['labels']:.2f}",
                ]
            )
    header = ["images", "stated", "covered", "labels in a set", "sets of one label", "worst class", "adaptive sets"]
    return (
        "## Sets of labels\n\n"
        f"{source(record)} Brackets are 95% intervals.\n\n"
        "`qcs predict --coverage` answers with a set of labels, of which one is right as often as stated for images "
        "like those of the calibration. It promises this for all images together, not for each class: the last but one "
        "column has the class whose label is in the set least often. **On other faces nothing is promised**, and the "
        "rows of muxspace show how far off it can be. Adaptive sets, in the last column with their coverage and size, "
        "are another way to make them, which the package does not use.\n\n" + table(header, rows)
    )


def abstention(record: Record) -> str:
    """Return the section on answers that are not given."""
    found = record["abstention"]
    parts = list(found["test"]["risk"])
    risks = [
        [
            named(name),
            *(f"{100 * each['risk'][part]:.1f}%" for part in parts),
            f"{100 * each['area']:.1f}%",
        ]
        for name, each in found.items()
    ]
    limits = []
    for name, each in found.items():
        for risk, limit in each["limits"].items():
            wrong, low, high = (100 * value for value in limit["wrong"])
            limits.append(
                [
                    named(name),
                    f"{100 * float(risk):g}%",
                    f"{limit['confidence']:.2f}",
                    f"{100 * limit['answered']:.1f}%",
                    f"{wrong:.1f}% ({low:.1f} to {high:.1f})",
                ]
            )
    return (
        "## Answers that are not given\n\n"
        f"{source(record)} Brackets are 95% intervals.\n\n"
        "Share of wrong answers if only the most confident part of the images is answered, and its mean over all "
        "parts (area under the risk-coverage curve):\n\n"
        + table(["images", *(f"{100 * float(part):g}% answered" for part in parts), "area"], risks)
        + "\n\n`qcs predict --max-risk` answers above the confidence that kept the share of wrong answers below the "
        "risk on the images of the calibration. On other faces it can be exceeded, as muxspace shows:\n\n"
        + table(["images", "risk", "least confidence", "answered", "wrong among them"], limits)
    )


def quality(record: Record) -> str:
    """Return the section on size and sharpness of faces."""
    limits = QualityGate()
    kinds = {"heights": "{} pixels high", "blurs": "blurred by {} pixels"}
    rows = [
        [
            words.format(value),
            f"{100 * found['accuracy']:.1f}%",
            *(f"{found['sharpness'][part]:.3f}" for part in ("5%", "50%", "95%")),
        ]
        for kind, words in kinds.items()
        for value, found in record[kind].items()
    ]
    return (
        "## Size and sharpness\n\n"
        f"Source: `benchmarks/ferplus/results/{FOLDER}/quality.json` (`python -m benchmarks.ferplus quality`).\n\n"
        f"Accuracy on {record['images']:,} FERPlus validation images that were made smaller and enlarged again to 48 "
        "pixels, or blurred with a Gaussian of that standard deviation, with quantiles of their sharpness (variance of "
        "the Laplacian relative to that of the gray levels). `qcs predict --quality` doubts faces below "
        f"{limits.least_height:g} pixels and below a sharpness of {limits.least_sharpness:g}: the last steps at which "
        "the accuracy is at most ten points lower, and the sharpness that all but one in twenty images have there. Its "
        "limits of turned heads and of faces that the picture cuts off are chosen, not measured; hands, masks and "
        "glasses are not detected.\n\n" + table(["images", "accuracy", "sharpness, 5%", "median", "95%"], rows)
    )


def votes(record: Record) -> str:
    """Return the section on the distribution of the votes."""
    found = record["votes"]
    rows = [
        [
            of,
            name,
            *(f"{each[what][0]:.3f} ({each[what][1]:.3f} to {each[what][2]:.3f})" for what in ("kl", "js", "tv")),
        ]
        for of in ("second half", "all votes")
        for name, each in found[of].items()
    ]
    network, people = (
        found["second half"][name]["js"][0] for name in ("network, temperature of the votes", "half of the annotators")
    )
    order = "closer to the other half than" if network < people else "farther from the other half than"
    return (
        "## The distribution of the votes\n\n"
        f"{source(record)} Brackets are 95% intervals (bootstrap over images).\n\n"
        f"About ten annotators voted on each of {found['images']:,} FERPlus test images with a majority. Their votes "
        f"for the eight expressions are split at random into halves, {found['splits']} times; the network and the "
        "first half both predict the second half, so that both meet the same noise. By the Jensen-Shannon divergence "
        f"the network is {order} about five annotators are. This is no skill beyond people: five votes are a coarse "
        "estimate of a distribution, and the network has learned from the votes on tens of thousands of images. KL is "
        "the divergence of the prediction from the votes, JS the Jensen-Shannon divergence, both in nats; TV is the "
        "total variation distance. The temperature of the votes is fitted by KL; the others may prefer another. An "
        "eighth of a vote is added to each class of the predicting half, because KL is infinite without.\n\n"
        + table(["votes predicted", "prediction", "KL", "JS", "TV"], rows)
    )


def enroll(record: Record) -> str:
    """Return the section on enrolled faces of a person."""
    rows, helped = [], []
    for name, found in record["sets"].items():
        without = found["without"]
        of = f"{named(name)}, {found['images']:,} images of {found['people']} people"
        rows.append([of, "none", f"{100 * without['accuracy']:.1f}%", f"{without['nll']:.3f}", "", "", ""])
        for arm, each in found["arms"].items():
            plain, sham = each["minus without"], each["minus sham"]
            rows.append(
                [
                    of,
                    arm,
                    f"{100 * each['with']['accuracy']:.1f}%",
                    f"{each['with']['nll']:.3f}",
                    _points(plain["accuracy"]),
                    _interval(plain["nll"]),
                    _points(sham["accuracy"]),
                ]
            )
            if plain["accuracy"][1] > 0 and sham["accuracy"][1] > 0:
                helped.append(f"{arm} on {named(name)}")
    verdict = (
        f"It raises the accuracy clearly, beyond the sham, with {' and '.join(helped)}."
        if helped
        else "**No way raises the accuracy clearly on any of these sets**, so the library has no enrollment."
    )
    header = ["images", "enrolled faces used by", "accuracy", "NLL", "accuracy, minus none", "NLL, minus none"]
    return (
        "## Enrolled faces of a person\n\n"
        f"Source: `benchmarks/ferplus/results/{FOLDER}/enroll.json` (`python -m benchmarks.ferplus enroll`). Brackets "
        "are 95% intervals (bootstrap over people).\n\n"
        f"Would it help to know a person's neutral face and a few others, {record['enrolled']} at most, with their "
        "labels? Every image of a person with several is asked about once, and others of the person are enrolled. "
        "*Cross similarity*: the new face is compared with each enrolled one by cross similarity of their tokens, and "
        "the class of the most similar one gains. *Uniform weights*: the same with equal weights of all tokens. *Own "
        "neutral*: what the network says of the person's neutral face, relative to neutral faces of all people, is "
        "taken off. How much each counts is fitted on the other half of the people, and can be nothing. The last "
        "column compares with a sham, enrolled faces of other people with the same labels. " + verdict + "\n\n"
        "It has limits: the labels of muxspace are noisy, most people have two or three images there, and the network "
        "was not trained to use enrolled faces. Enrolling neutral faces before all others was measured first, in the "
        "same way, and raised the accuracy no more; the log of looks has it.\n\n"
        + table([*header, "accuracy, minus sham"], rows)
    )


def _points(value: Any) -> str:
    return f"{100 * value[0]:+.1f} ({100 * value[1]:+.1f} to {100 * value[2]:+.1f})"


def _interval(value: Any) -> str:
    return f"{value[0]:+.3f} ({value[1]:+.3f} to {value[2]:+.3f})"


def _moved(found: Record) -> str:
    return f"from {found['uncalibrated']['ece']:.3f} to {found['label']['ece']:.3f}"


def named(name: str) -> str:
    """Return the name of a set for readers."""
    first, _, rest = name.partition(", ")
    words = {
        "validation": "FERPlus validation (of the fit)",
        "test": "FERPlus test",
        "muxspace": "muxspace",
        "synthetic people": "synthetic",
    }
    return words[first] + (f", {SOURCES.get(rest, rest)}" if rest else "")
