"""Recipes: the settings of the published trainings (paper, Sec. 4), those of other methods, and two for a CPU.

Where the paper and the original code differ, a recipe has the value of the code. The published trainings start from a
backbone trained for face recognition, the fine-tuning ones from weights for AffectNet-8: give such weights with `init`.
With random weights, their learning rates are far too small. `finetune` trains from weights on a small data set,
`scratch` from random weights on a large one.
"""

from __future__ import annotations

import difflib
from typing import Any

from qcs.engine.training.peer_recipes import PEER_RECIPES
from qcs.errors import InputError

_PUBLISHED: dict[str, Any] = dict(schedule="exponential", sam_rho=0.05, rotation=0.0, erasing=(0.02, 0.1))
_RAF_DB: dict[str, Any] = dict(_PUBLISHED, resize=None, epochs=200)
_FERPLUS: dict[str, Any] = dict(_PUBLISHED, resize=None, epochs=150)
_AFFECTNET: dict[str, Any] = dict(
    _PUBLISHED, resize=236, rotation=12.0, erasing=(0.03, 0.1), balance="class", negatives="class"
)
_DCS: dict[str, Any] = dict(fraction=1 / 8)
_QCS: dict[str, Any] = dict(fraction=1 / 12)

RECIPES: dict[str, dict[str, Any]] = {
    "dcs-raf_db": dict(_RAF_DB, model="dcs_ir50.raf_db", batch_size=48, lr=9e-6),
    "qcs-raf_db": dict(_RAF_DB, model="qcs_ir50.raf_db", batch_size=24, lr=4e-6),
    "qcs-raf_db-finetune": dict(_RAF_DB, model="qcs_ir50.raf_db", batch_size=24, lr=3e-6),
    "dcs-ferplus": dict(_FERPLUS, model="dcs_ir50.ferplus", batch_size=24, lr=8e-6),
    "qcs-ferplus": dict(_FERPLUS, model="qcs_ir50.ferplus", batch_size=24, lr=3.5e-6),
    "qcs-ferplus-finetune": dict(_FERPLUS, model="qcs_ir50.ferplus", batch_size=24, lr=2.5e-6),
    "dcs-affectnet7": dict(_AFFECTNET, **_DCS, model="dcs_ir50.affectnet7", batch_size=48, lr=9e-6, epochs=100),
    "qcs-affectnet7": dict(_AFFECTNET, **_QCS, model="qcs_ir50.affectnet7", batch_size=24, lr=4e-6, epochs=150),
    "dcs-affectnet8": {
        **_AFFECTNET,
        **_DCS,
        **dict(model="dcs_ir50.affectnet8", batch_size=48, lr=8e-6, epochs=50, resize=None, erasing=(0.02, 0.1)),
    },
    "qcs-affectnet8": dict(_AFFECTNET, **_QCS, model="qcs_ir50.affectnet8", batch_size=24, lr=4e-6, epochs=100),
    "finetune": dict(
        schedule="cosine",
        sam_rho=0.0,
        lr=3e-4,
        images_per_step=48,
        epochs=12,
        fraction=0.25,
        rotation=10.0,
        erasing=None,
        color_jitter=(0.2, 0.2, 0.0, 0.0),
        precision="auto",
    ),
    "scratch": dict(
        schedule="cosine",
        sam_rho=0.0,
        lr=1e-3,
        images_per_step=48,
        epochs=100,
        fraction=0.25,
        resize=52,
        rotation=10.0,
        erasing=None,
        color_jitter=(0.2, 0.2, 0.0, 0.0),
        precision="auto",
    ),
    **PEER_RECIPES,
}
"""Settings by recipe: the published trainings of QCS and DCS, `finetune` and `scratch`, and those of other methods."""

FINETUNE, SCRATCH = "finetune", "scratch"
"""The recipes where none is named: with and without weights to start from."""


def recipe(name: str) -> dict[str, Any]:
    """Return the settings of a recipe, for `TrainConfig`.

    Raises:
        InputError: If there is no such recipe.

    Example:
        >>> from qcs.engine.training import recipe
        >>> recipe("qcs-raf_db")["lr"]
        4e-06
    """
    if name not in RECIPES:
        own = ", ".join(each for each in RECIPES if each not in PEER_RECIPES)
        close = difflib.get_close_matches(name, RECIPES, n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(close)}? All are" if close else "all are"
        methods = ", ".join(dict.fromkeys(each.partition("-")[0] for each in PEER_RECIPES))
        raise InputError(f"unknown recipe {name!r}; {hint} {own}, and METHOD-DATA or METHOD-DATA-crossval of {methods}")
    return dict(RECIPES[name])
