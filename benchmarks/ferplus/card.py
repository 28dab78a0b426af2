"""The model card of the weights in the package, made from what the files say of themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qcs.models import CrossSimilarityNetwork, load_model
from qcs.models.weights import read_config
from qcs.publish.card import USES

CARD = "README.md"  # beside the weights

HEAD = """# The weights in the package

```python
import qcs

model = qcs.create_model("qcs_small", pretrained=True).eval()  # no network needed
```

```
qcs predict qcs_small photos/ --annotate marked
```

Made by `python -m benchmarks.ferplus embed`. All figures are of these very files, the base network alone; nothing was
chosen on test images.
"""

MEASURES = {
    "validation": "FERPlus validation, on which the weights were chosen",
    "test": "FERPlus test",
    "flipped": "FERPlus test, with test-time augmentation (horizontal flip)",
    "unseen": "FERPlus test without copies of training images",
    "muxspace": "muxspace, never trained on",
    "blur": "FERPlus test, blurred",
    "noise": "FERPlus test, noisy",
    "occlusion": "FERPlus test, partly covered",
    "low light": "FERPlus test, in little light",
}

LICENSE = """## Data and license

Trained on the training images of FERPlus, which are those of FER2013, with the shares of ten annotators' votes as
targets. The votes have an open license; the rights in the images, gathered by web search, were never cleared. None of
the images is in the package. The weights come under the library's license as far as its authors have a say; ask a
lawyer before you sell what is built on them.

## Not measured

Labels of age, gender, skin colour or country do not come with these images, so accuracy **per group of people is not
known**. Measure it on images of your own before you use the network on people (`qcs report --groups`).
"""


def write_card(folder: Path) -> Path:
    """Write the card of all weights in a folder beside them."""
    path = folder / CARD
    path.write_text(card(folder), encoding="utf-8")
    return path


def card(folder: Path) -> str:
    """The card of all weights in a folder, as Markdown."""
    sections = [_section(path) for path in sorted(folder.glob("*.safetensors"))]
    return "\n".join([HEAD, *sections, USES, LICENSE])


def _section(path: Path) -> str:
    info, model = read_config(path)["info"], load_model(path)
    settings = info["trained_with"]
    told = (
        f"## {path.stem}\n\n{_what(model)}; {path.stat().st_size / 1e6:.1f} MB in half precision. "
        f"{_training(settings)}; weights of epoch {info['epoch']}, seed {settings['seed']}{_average(info['share'])}. "
        "The file holds every setting.\n"
    )
    rows = [
        f"| {name} | {info[key]['images']:,} | {info[key]['accuracy']:.2%} | {info[key]['balanced_accuracy']:.2%} |"
        for key, name in MEASURES.items()
    ]
    table = ["| images | number | accuracy | balanced over classes |", "|---|---|---|---|", *rows]
    return "\n".join(
        [told, *table, "", _classes(info), f"Expected calibration error: {info['calibration_error']:.3f}.\n"]
    )


def _training(settings: dict[str, Any]) -> str:
    """How long, from what, and by whom it was taught."""
    told = f"Trained for {_long(settings)}"
    if settings["soft_labels"]:
        told += " with the shares of the votes as targets"
    if before := settings.get("init"):
        told += f", from weights of `{before['model']}` after {_long(before)}"
    if teachers := settings.get("teachers"):
        names = ", ".join(f"`{each['model']}` after {_long(each)}" for each in teachers)
        told += f"; {settings['teacher_share']:.0%} of the targets is what {len(teachers)} teachers say ({names})"
    return told


def _average(share: float) -> str:
    return "" if share == 1 else f", averaged with those that the training began with ({share:.0%} and {1 - share:.0%})"


def _long(settings: dict[str, Any]) -> str:
    return f"{settings['minutes']:g} minutes" if settings["minutes"] else f"{settings['epochs']} epochs"


def _what(model: CrossSimilarityNetwork) -> str:
    base = sum(p.numel() for p in model.inference_model().parameters())
    whole = sum(p.numel() for p in model.parameters())
    channels, side, _ = model.pretrained_cfg["input_size"]
    kind = "grey" if channels == 1 else "colour"
    return (
        f"{kind.capitalize()} faces of {side} pixels; {whole / 1e6:.2f} M parameters, {base / 1e6:.2f} M at inference"
    )


def _classes(info: dict[str, Any]) -> str:
    test = info["test"]
    counts = dict(zip(test["classes"], map(sum, test["confusion"]), strict=True))
    cells = [f"| {name} | {counts[name]:,} | {share:.1%} |" for name, share in test["per_class_accuracy"].items()]
    return "\n".join(["| class | test images | recognised |", "|---|---|---|", *cells, ""])
