"""Write the model card of the weights in the package from the metadata of the files and the record of `audit`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.ferplus import weights_page
from benchmarks.ferplus.audit import read_records
from benchmarks.ferplus.run import RESULTS
from benchmarks.ferplus.weights_page import Record
from qcs.errors import InputError
from qcs.files import sha256, write_text
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
network alone. Settings, epochs and averages were selected on validation images; `test_looks.jsonl` in
`benchmarks/ferplus/results/` lists every measurement on test images since 28 November
2026; earlier ones were not logged.
"""

LICENSE = """## Data and license

The weights were trained on the training images of FERPlus, which are those of FER2013. The targets are the vote shares
of ten annotators. The votes have an open license. The rights in the images, collected by web search, were never
cleared. The package contains none of the images. The weights are under the license of the library, as far as its
authors can grant it. Ask a lawyer before you sell a product built on them.

## Not measured

These images come without labels of age, gender, skin color or country, so accuracy **per group of people is unknown**.
Measure it on your own images before you use the network on people (`qcs report --groups`).
"""


def write_card(folder: Path, results: Path = RESULTS) -> Path:
    """Write the card of all weights in a folder into that folder, and return its path."""
    return write_text(folder / CARD, card(folder, results))


def card(folder: Path, results: Path = RESULTS) -> str:
    """Return the card of all weights in a folder, as Markdown.

    Raises:
        InputError: If the record of `audit` is missing or of other weights.
    """
    records = {record["name"]: record for record in read_records(results)}
    sections = [_section(path, records) for path in sorted(folder.glob("*.safetensors"))]
    return "\n".join([HEAD, *sections, USES, LICENSE])


def _section(path: Path, records: Mapping[str, Record]) -> str:
    record = records.get(path.stem)
    if record is None or record["networks"]["now"]["sha256"] != sha256(path):
        raise InputError(f"no figures of these weights, {path.name}: run `python -m benchmarks.ferplus audit`")
    info, model = read_config(path)["info"], load_model(path)
    settings = info["trained_with"]
    text = (
        f"{_what(model)}; {path.stat().st_size / 1e6:.1f} MB in half precision. The weights are those of epoch "
        f"{info['epoch']}, seed {settings['seed']}{_average(info['share'])}. The file stores every setting."
        f"{_offsets(info.get('offsets'))}"
    )
    parts = [
        f"## {path.stem}",
        text,
        weights_page.lineage(record),
        weights_page.source(record)
        + " Brackets are 95% intervals (bootstrap over images; over people on muxspace); the calibration error of "
        "resampled images is larger by chance, so its interval lies high.",
        weights_page.measures(record),
        weights_page.copies(record) + " The lines without copies are the fairer ones. Blur, noise, low light and gray "
        f"squares are no test of new conditions where a network was trained with them. {_degradations(settings)} The "
        "covered mouth, the covered eyes and the patch of another face were in no training.",
        weights_page.classes(record),
        weights_page.calibration(record),
        weights_page.comparison(record),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _average(share: float) -> str:
    return "" if share == 1 else f", averaged with the initial weights ({share:.0%} and {1 - share:.0%})"


def _offsets(offsets: Mapping[str, float] | None) -> str:
    """Say that the bias was moved from the shares of the sampled classes to those of the training images."""
    if not offsets or not any(offsets.values()):
        return ""
    shown = ", ".join(f"{name} {value:+.2f}" for name, value in offsets.items())
    return f" The bias of the last layer contains offsets that correct for the classes drawn in training: {shown}."


def _degradations(settings: Mapping[str, Any]) -> str:
    """Say which degradations the last training applied."""
    words = {"erasing": "erased rectangles", "low_light": "low light", "blur": "blur", "noise": "noise"}
    applied = [word for name, word in words.items() if settings.get(name)]
    return f"This network was trained with {', '.join(applied)}." if applied else "This network was trained with none."


def _what(model: CrossSimilarityNetwork) -> str:
    base = sum(p.numel() for p in model.inference_model().parameters())
    whole = sum(p.numel() for p in model.parameters())
    channels, side, _ = model.pretrained_cfg["input_size"]
    kind = "grayscale" if channels == 1 else "RGB"
    return f"Input: {kind} faces of {side} pixels; {whole / 1e6:.2f} M parameters, {base / 1e6:.2f} M at inference"
