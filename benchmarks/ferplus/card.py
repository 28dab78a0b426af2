"""Write the model card of the weights in the package from the metadata of the files."""

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
qcs predict photos/ --annotate marked
```

`python -m benchmarks.ferplus embed` made these files. All figures were measured on exactly these files, with the base
network alone. Nothing was selected on test images.
"""

MEASURES = {
    "validation": "FERPlus validation, on which the weights were selected",
    "test": "FERPlus test",
    "flipped": "FERPlus test, with test-time augmentation (horizontal flip)",
    "unseen": "FERPlus test, without copies of training images",
    "muxspace": "muxspace, never trained on",
    "blur": "FERPlus test, with blur",
    "noise": "FERPlus test, with noise",
    "occlusion": "FERPlus test, with occlusion",
    "low light": "FERPlus test, in low light",
}

LICENSE = """## Data and license

The weights were trained on the training images of FERPlus, which are those of FER2013. The targets are the vote shares
of ten annotators. The votes have an open license. The rights in the images, collected by web search, were never
cleared. The package contains none of the images. The weights are under the license of the library, as far as its
authors can grant it. Ask a lawyer before you sell a product built on them.

## Not measured

These images come without labels of age, gender, skin color or country, so accuracy **per group of people is unknown**.
Measure it on your own images before you use the network on people (`qcs report --groups`).
"""


def write_card(folder: Path) -> Path:
    """Write the card of all weights in a folder into that folder, and return its path."""
    path = folder / CARD
    path.write_text(card(folder), encoding="utf-8")
    return path


def card(folder: Path) -> str:
    """Return the card of all weights in a folder, as Markdown."""
    sections = [_section(path) for path in sorted(folder.glob("*.safetensors"))]
    return "\n".join([HEAD, *sections, USES, LICENSE])


def _section(path: Path) -> str:
    info, model = read_config(path)["info"], load_model(path)
    settings = info["trained_with"]
    text = (
        f"## {path.stem}\n\n{_what(model)}; {path.stat().st_size / 1e6:.1f} MB in half precision. "
        f"{_training(settings)} The weights are those of epoch {info['epoch']}, seed "
        f"{settings['seed']}{_average(info['share'])}. The file stores every setting.\n"
    )
    rows = [
        f"| {name} | {info[key]['images']:,} | {info[key]['accuracy']:.2%} | {info[key]['balanced_accuracy']:.2%} |"
        for key, name in MEASURES.items()
    ]
    table = ["| evaluation set | images | accuracy | balanced accuracy |", "|---|---|---|---|", *rows]
    return "\n".join(
        [text, *table, "", _classes(info), f"Expected calibration error: {info['calibration_error']:.3f}.\n"]
    )


def _training(settings: dict[str, Any]) -> str:
    """Return how long, from what initial weights, and with which teachers."""
    text = f"Trained for {_long(settings)}"
    if settings["soft_labels"]:
        text += " with vote shares as targets"
    if before := settings.get("init"):
        text += f", starting from weights of `{before['model']}` after {_long(before)}"
    if teachers := settings.get("teachers"):
        names = ", ".join(f"`{each['model']}` after {_long(each)}" for each in teachers)
        text += f". Knowledge distillation: {settings['teacher_share']:.0%} of each target comes from "
        text += f"{len(teachers)} teachers ({names})"
    return f"{text}."


def _average(share: float) -> str:
    return "" if share == 1 else f", averaged with the initial weights ({share:.0%} and {1 - share:.0%})"


def _long(settings: dict[str, Any]) -> str:
    return f"{settings['minutes']:g} minutes" if settings["minutes"] else f"{settings['epochs']} epochs"


def _what(model: CrossSimilarityNetwork) -> str:
    base = sum(p.numel() for p in model.inference_model().parameters())
    whole = sum(p.numel() for p in model.parameters())
    channels, side, _ = model.pretrained_cfg["input_size"]
    kind = "grayscale" if channels == 1 else "RGB"
    return f"Input: {kind} faces of {side} pixels; {whole / 1e6:.2f} M parameters, {base / 1e6:.2f} M at inference"


def _classes(info: dict[str, Any]) -> str:
    test = info["test"]
    counts = dict(zip(test["classes"], map(sum, test["confusion"]), strict=True))
    cells = [f"| {name} | {counts[name]:,} | {share:.1%} |" for name, share in test["per_class_accuracy"].items()]
    return "\n".join(["| class | test images | recognized |", "|---|---|---|", *cells, ""])
