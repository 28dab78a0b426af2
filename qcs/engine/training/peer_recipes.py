"""Recipes of other methods: the trainings of their official repositories, and those of the comparison FER-crossval.

A value that a published script leaves open is PyTorch's default. What a script does and a recipe does not is described
in docs/peers.md.
"""

from __future__ import annotations

from typing import Any, NamedTuple

# What all of them share: weight decay acts on every parameter.
_PEER: dict[str, Any] = dict(sam_rho=0.0, decay_all=True, schedule="exponential")
_SAM: dict[str, Any] = dict(_PEER, sam_rho=0.05, optimizer="adam")
_BALANCED: dict[str, Any] = dict(balance="class")
# A step of torch.optim.lr_scheduler.StepLR(10, 0.1).
_SGD: dict[str, Any] = dict(
    _PEER, optimizer="sgd", momentum=0.9, weight_decay=1e-4, lr_decay=0.1, decay_epochs=10, epochs=40, batch_size=256
)
_ADAM_AFFECTNET: dict[str, Any] = dict(
    _PEER, **_BALANCED, optimizer="adam", lr=1e-4, lr_decay=0.6, epochs=40, batch_size=256
)
_ADA_DF: dict[str, Any] = dict(
    _PEER, model="ada_df_resnet18", optimizer="adam", lr=1e-3, lr_decay=0.9, epochs=75, augmentation="ada_df"
)
_POSTER: dict[str, Any] = dict(_SAM, lr_decay=0.98, epochs=300, batch_size=200, augmentation="poster")
_POSTER_V2: dict[str, Any] = dict(_SAM, model="poster_v2_ir50", lr_decay=0.98, epochs=200, batch_size=144)
_DDAMFN_PP_AFFECTNET: dict[str, Any] = dict(
    _SAM, **_BALANCED, lr=1e-5, lr_decay=0.98, epochs=200, batch_size=256, augmentation="ddamfn_pp-affectnet"
)
# Images of every class per epoch: as many as of the rarest of AffectNet-7, over its 283,901.
_RAREST = 7 * 3803 / 283_901

OFFICIAL: dict[str, dict[str, Any]] = {
    "dan-raf_db": dict(_SGD, model="dan_resnet18.raf_db", lr=0.1, augmentation="dan-raf_db"),
    "dan-affectnet7": dict(_ADAM_AFFECTNET, model="dan_resnet18.affectnet7", augmentation="dan-affectnet"),
    "dan-affectnet8": dict(_ADAM_AFFECTNET, model="dan_resnet18.affectnet8", augmentation="dan-affectnet"),
    "ddamfn-raf_db": dict(_SGD, model="ddamfn.raf_db", lr=0.01, augmentation="ddamfn-raf_db"),
    "ddamfn-ferplus": dict(_SGD, model="ddamfn", lr=0.01, epochs=80, augmentation="ddamfn-ferplus"),
    "ddamfn-affectnet7": dict(_ADAM_AFFECTNET, model="ddamfn.affectnet7", augmentation="ddamfn-affectnet"),
    "ddamfn-affectnet8": dict(_ADAM_AFFECTNET, model="ddamfn.affectnet8", augmentation="ddamfn-affectnet"),
    "ddamfn_pp-raf_db": dict(
        _SAM, model="ddamfn.raf_db", lr=5e-4, lr_decay=0.9, epochs=60, batch_size=128, augmentation="ddamfn_pp-raf_db"
    ),
    "ddamfn_pp-affectnet7": dict(_DDAMFN_PP_AFFECTNET, model="ddamfn.affectnet7"),
    "ddamfn_pp-affectnet8": dict(_DDAMFN_PP_AFFECTNET, model="ddamfn.affectnet8"),
    "ada_df-raf_db": dict(_ADA_DF, batch_size=64, objective_args={"threshold": 0.7, "beta": 3}),
    "ada_df-affectnet7": dict(
        _ADA_DF, **_BALANCED, batch_size=64, fraction=_RAREST, objective_args={"threshold": 0.5, "beta": 5}
    ),
    "ada_df-sfew": dict(
        _ADA_DF, batch_size=16, augmentation="ada_df-sfew", objective_args={"threshold": 0.5, "beta": 5}
    ),
    "poster-raf_db": dict(_POSTER, model="poster_ir50.raf_db", lr=4e-5),
    "poster-affectnet7": dict(_POSTER, **_BALANCED, model="poster_ir50.affectnet7", lr=2e-6),
    "poster_v2-raf_db": dict(_POSTER_V2, lr=3.5e-5, augmentation="poster_v2-raf_db"),
    "poster_v2-caer_s": dict(_POSTER_V2, lr=4e-5, augmentation="poster_v2"),
    "poster_v2-affectnet7": dict(_POSTER_V2, **_BALANCED, lr=1e-6, augmentation="poster_v2"),
    "poster_v2-affectnet8": dict(_POSTER_V2, **_BALANCED, lr=1e-6, augmentation="poster_v2"),
    "lnsu-raf_db": dict(
        sam_rho=0.0,
        model="lnsu_swin_tiny.raf_db",
        optimizer="adamw",
        lr=5e-4 * 32 / 512,
        weight_decay=0.05,
        schedule="cosine",
        warm_up=2000 / 60_000,
        lr_floor=0.01,
        clip_grad=5.0,
        epochs=156,
        batch_size=32,
        augmentation="lnsu",
        objective_args={"class_weights": "published"},
    ),
    "gsdnet": dict(
        _PEER,
        model="gsdnet_resnet50",
        optimizer="adam",
        lr=1e-4,
        weight_decay=1e-4,
        lr_decay=0.9,
        epochs=40,
        batch_size=64,
        augmentation="gsdnet",
    ),
    "mfer": dict(
        _PEER,
        model="mfer_convnext_base",
        optimizer="adamw",
        lr=1e-3,
        weight_decay=0.01,
        lr_decay=0.95,
        epochs=100,
        batch_size=32,
        augmentation="resize",
    ),
}
"""The trainings of the official repositories."""


class _Cell(NamedTuple):
    """What differs between the data sets of FER-crossval: images per batch, epochs of falling rate, side in pixels."""

    batch: int
    half_period: int
    side: int
    accumulate: int = 1


DATA = ("raf_db", "fer2013", "ferplus", "expw", "sfew", "ckplus")
_LARGE, _MEDIUM, _SFEW, _CKPLUS = _Cell(128, 20, 224), _Cell(64, 20, 224), _Cell(32, 100, 112), _Cell(32, 100, 224)
_FOUR = _Cell(32, 100, 112, accumulate=4)
_CELLS: dict[str, tuple[_Cell, ...]] = {
    "poster": (_LARGE, _LARGE, _MEDIUM, _MEDIUM, _SFEW, _CKPLUS),
    "dan": (_LARGE, _MEDIUM, _MEDIUM, _MEDIUM, _SFEW, _CKPLUS),
    "ddamfn": (_Cell(128, 20, 112), *[_Cell(64, 20, 112)] * 3, *[_Cell(32, 100, 112)] * 2),
    # The script for SFEW steps its schedule twice an epoch.
    "ada_df": (_LARGE, _LARGE, _MEDIUM, _Cell(64, 10, 224), _Cell(32, 10, 112), _CKPLUS),
    "lnsu": (_Cell(32, 100, 112),) * 6,
    "poster_v2": (_FOUR, _FOUR._replace(side=48), _FOUR, _FOUR, _FOUR, _FOUR),
    "gsdnet": (_CKPLUS, _CKPLUS, _CKPLUS, _FOUR, _CKPLUS, _CKPLUS),
}
_NETWORK: dict[str, dict[str, Any]] = {
    "poster": dict(model="poster_ir50", augmentation="poster"),
    "dan": dict(model="dan_resnet18.affectnet7", augmentation="dan-raf_db"),
    "ddamfn": dict(model="ddamfn", augmentation="ddamfn-raf_db"),
    "ada_df": dict(model="ada_df_resnet18", augmentation="ada_df", objective_args={"threshold": 0.7, "beta": 3}),
    "lnsu": dict(
        model="lnsu_swin_tiny",
        augmentation="resize",
        lr=1e-3 * 32 / 512,
        schedule="annealing_steps",
        clip_grad=5.0,
        patience_on="accuracy",
    ),
    "poster_v2": dict(model="poster_v2_ir50", augmentation="poster_v2-raf_db", lr=1e-4, select_on="loss"),
    "gsdnet": dict(model="gsdnet_resnet50", augmentation="gsdnet", select_on="loss"),
}
_BY_LOSS: dict[str, Any] = dict(select_on="loss")
_EXCEPTIONS: dict[tuple[str, str], dict[str, Any]] = {
    ("poster", "raf_db"): dict(model="poster_ir50.raf_db"),
    ("poster", "expw"): dict(model="poster_ir50.raf_db"),
    ("poster", "sfew"): _BY_LOSS,
    ("poster", "ckplus"): _BY_LOSS,
    ("dan", "raf_db"): dict(model="dan_resnet18.raf_db"),
    ("dan", "sfew"): _BY_LOSS,
    ("ddamfn", "ferplus"): dict(augmentation="ddamfn-ferplus"),
    ("ddamfn", "sfew"): _BY_LOSS,
    ("ddamfn", "ckplus"): _BY_LOSS,
    ("ada_df", "sfew"): _BY_LOSS,
    ("lnsu", "raf_db"): dict(objective_args={"class_weights": "published"}),
    ("poster_v2", "sfew"): dict(lr=1e-3),
    ("poster_v2", "ckplus"): dict(lr=1e-3),
}


def _crossval(method: str, data: str, cell: _Cell) -> dict[str, Any]:
    arguments: dict[str, Any] = {"img_size": cell.side}
    if method == "ada_df":
        arguments["freeze_stem"] = False
    return {
        **_PEER,
        **dict(optimizer="adamw", lr=1e-3, weight_decay=1e-4, schedule="annealing", half_period=cell.half_period),
        **dict(epochs=100, patience=20, patience_on="loss", batch_size=cell.batch, accumulate=cell.accumulate),
        **_NETWORK[method],
        **_EXCEPTIONS.get((method, data), {}),
        "model_args": arguments,
    }


CROSSVAL: dict[str, dict[str, Any]] = {
    f"{method}-{data}-crossval": _crossval(method, data, cell)
    for method, cells in _CELLS.items()
    for data, cell in zip(DATA, cells, strict=True)
}
"""The trainings of FER-crossval, by method and data set."""

PEER_RECIPES = {**OFFICIAL, **CROSSVAL}
