"""Write a page for each checkpoint of the original implementation, from the data of the package."""

from __future__ import annotations

from typing import Any

from qcs.engine.training.recipes import RECIPES
from qcs.models.summary import ModelSummary, describe_models
from qcs.models.zoo import OWN_ARGS, REPORTED_ACCURACY

FAMILIES = {"dcs": "Dual Cross Similarity, two branches", "qcs": "Quadruplet Cross Similarity, four branches"}
DATA = {
    "raf_db": ("RAF-DB", "15,339 photographs from the web, distributed by its authors for non-commercial research"),
    "ferplus": ("FERPlus", "the 48-pixel photographs of FER2013, each relabeled by ten annotators"),
    "affectnet7": ("AffectNet-7", "photographs from the web, without contempt, distributed on request for research"),
    "affectnet8": ("AffectNet-8", "photographs from the web, with contempt, distributed on request for research"),
}
SHOWN = ("lr", "batch_size", "epochs", "schedule", "sam_rho", "balance", "negatives", "fraction", "resize", "rotation")

PAGE = """# {family}, {data}

{meaning}, on the IR-50 backbone, for the classes of {data}: {about}.

| | `{name}` |
|---|---|
| accuracy reported in the paper | {accuracy:.2%} |
| parameters | {parameters:.2f} M in training, {inference:.2f} M at inference |
| multiply-adds per image at inference | {gmacs:.2f} · 10⁹ |
| images | {side} × {side} pixels, RGB |
| classes, in order | {classes} |
| residual stream of the cross modules | `"{residual}"` |
| dropout | base {base}, cross {cross}; after the attention projection: {projection} |

The weights belong to the authors of the paper and are not part of this library. They reported the accuracy; it was not
measured here.

## Convert the checkpoint

```
qcs convert CHECKPOINT.pth --to {name}
qcs evaluate {name}.safetensors --data DATA{split}
qcs predict photos/ --weights {name}.safetensors
```

The first command reads the file without running any code in it, and accounts for every entry
([how](../checkpoints.md)). The second should reproduce the accuracy above. If it does not, check the alignment of the
faces first. In Python:

<!-- needs a file -->
```python
import qcs

model = qcs.load_model("{name}.safetensors")
```

Without weights, `qcs.create_model("{name}")` creates the same network with random weights.

## Training recipe

{recipes}

The learning rates assume that training starts from an IR-50 pretrained for face recognition; see
[fine-tuning](../tutorials/fine-tune.md). Before you use the network on people, read
[responsible use](../responsible.md).
"""


def pages() -> dict[str, str]:
    """Return the pages by path, one for each network with an accuracy reported in the paper."""
    found = {row.name: row for family in FAMILIES for row in describe_models(f"{family}_ir50.*")}
    return {f"checkpoints/{name}.md": _page(found[name]) for name in REPORTED_ACCURACY}


def _page(row: ModelSummary) -> str:
    family, tag = row.name.split("_ir50.")
    differs = OWN_ARGS.get(row.name, {})
    return PAGE.format(
        name=row.name,
        family=family.upper(),
        meaning=FAMILIES[family],
        data=DATA[tag][0],
        about=DATA[tag][1],
        accuracy=row.accuracy,
        parameters=row.parameters / 1e6,
        inference=row.inference / 1e6,
        gmacs=row.gmacs,
        side=row.input_size[1],
        classes=", ".join(row.classes),
        residual=differs.get("residual", "normalized"),
        base=differs.get("base_drop_rate", 0),
        cross=differs.get("cross_drop_rate", 0),
        projection="yes" if differs.get("drop_attention_projection") else "no",
        split=" --split validation" if tag.startswith("affectnet") else "",
        recipes=_recipes(row.name),
    )


def _recipes(name: str) -> str:
    recipes = {title: values for title, values in RECIPES.items() if values.get("model") == name}
    lines = [
        f"| setting | {' | '.join(f'`--recipe {title}`' for title in recipes)} |",
        "|---" * (1 + len(recipes)) + "|",
    ]
    for setting in SHOWN:
        if any(setting in values for values in recipes.values()):
            lines.append(f"| `{setting}` | {' | '.join(_shown(values, setting) for values in recipes.values())} |")
    return "\n".join(lines)


def _shown(values: dict[str, Any], setting: str) -> str:
    value = values.get(setting, "default")
    return "none" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)
