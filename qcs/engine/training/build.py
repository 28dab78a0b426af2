"""Build the network of a training run, with the classes and the preprocessing of the run."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from timm.models import get_pretrained_cfg_value
from torch import Tensor

from qcs.engine.training.config import TrainConfig
from qcs.engine.training.data import Sources
from qcs.errors import InputError
from qcs.models import Classifier, CrossSimilarityNetwork, create_model
from qcs.models.checkpoint import has_cross_part, is_backbone, num_classes_in, read_entries
from qcs.models.factory import load_entries
from qcs.models.network import CROSS_ARGS
from qcs.models.weights import find_weights, read_class_names, read_config


def build_model(config: TrainConfig, data: Sources) -> tuple[Classifier, Sources]:
    """Return the network, and the data in the class order of the network.

    A network whose name defines class names keeps their order, and the labels of the data are mapped by name. If the
    data has other classes, or the name defines none, the network takes those of the data.

    Raises:
        InputError: If the network cannot be built, or the initial weights do not fit it.
    """
    classes = data.train.classes
    model = _start(config, len(classes)) if config.init is None else _start_from(config, classes)
    if config.freeze_backbone:
        if not isinstance(model, CrossSimilarityNetwork):
            raise InputError(f"{config.model} has no backbone to freeze: leave out freeze_backbone")
        model.freeze_backbone()
    fixed = model.pretrained_cfg.get("label_names") or get_pretrained_cfg_value(config.model, "label_names")
    if fixed is not None and sorted(fixed) == sorted(classes):
        data = data.with_classes(fixed)
    model.name_classes(data.train.classes)
    side = model.pretrained_cfg["input_size"][-1]
    model.pretrained_cfg["crop_pct"] = side / (config.resize or side)  # inference crops images as training does
    return model, data


def _start(config: TrainConfig, num_classes: int) -> Classifier:
    backbone = dict(backbone=config.backbone, pretrained_backbone=config.pretrained_backbone or None)  # None: not given
    try:
        model = create_model(
            config.model, num_classes=num_classes, in_chans=config.in_chans, **{**backbone, **config.model_args}
        )
    except Exception as error:
        if isinstance(error, InputError) or not config.model_args:
            raise
        # The arguments reach timm and PyTorch, which raise errors of many kinds.
        given = ", ".join(f"{name}={value!r}" for name, value in config.model_args.items())
        raise InputError(f"cannot build {config.model} with {given}: {error}") from error
    if not isinstance(model, Classifier):
        raise InputError(f"{config.model} classifies no expressions; train one of the networks that 'qcs models' lists")
    return model


def _start_from(config: TrainConfig, classes: tuple[str, ...]) -> Classifier:
    """The network with the weights of `config.init`; its heads are random unless file or tag name the same classes."""
    path = find_weights(str(config.init))
    entries = read_entries(path)
    model = _start(config, len(classes))
    if is_backbone(entries.state):
        loaded = load_entries(model, entries, "backbone")
        warnings.warn(f"{path} holds a backbone alone: {loaded}", stacklevel=2)
        return model
    if (count := _num_classes_in(entries.state, model, path)) != model.num_classes:
        model = _start(config, count)
    compares = has_cross_part(entries.state)
    if model.branches > 1 and not compares:
        warnings.warn(f"{path} holds a base network: {load_entries(model, entries, 'base')}", stacklevel=2)
    else:
        load_entries(model, entries)
    _warn_of_other_arguments(model, path, irrelevant=() if compares and model.branches > 1 else CROSS_ARGS)
    names = read_class_names(path) or model.pretrained_cfg.get("label_names")
    if names is not None and sorted(names) == sorted(classes):
        model.name_classes(names)
    else:
        model.reset_classifier(len(classes))
    return model


def _num_classes_in(state: Mapping[str, Tensor], model: Classifier, where: Path) -> int:
    """Return the number of classes of weights for a network."""
    if isinstance(model, CrossSimilarityNetwork):
        return num_classes_in(state, where)
    heads = (state.get(f"{head}.weight") for head in model.pretrained_cfg["classifier"])
    return next((len(head) for head in heads if head is not None), model.num_classes)


def _warn_of_other_arguments(model: Classifier, path: Path, irrelevant: Sequence[str]) -> None:
    """Warn of arguments that the shapes of the weights do not show, such as residual and dropout."""
    try:
        stated = read_config(path)["model_args"]
    except InputError:  # an original checkpoint, say
        return
    differing = [
        f"{name}={value!r} instead of {stated[name]!r}"
        for name, value in model.resolved_args.items()
        if stated.get(name) is not None
        and stated[name] != value
        and name not in ("branches", "num_classes", *irrelevant)
    ]
    if differing:
        warnings.warn(f"{path} was trained with other arguments; this run has {', '.join(differing)}", stacklevel=2)
