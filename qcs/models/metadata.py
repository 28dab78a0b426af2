"""Check the metadata of weights files, which anyone may have written: size, depth, types and ranges.

A value that cannot be right is refused before anything is built with it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from qcs.errors import InputError, brief
from qcs.models.calibration import COVERAGES, LEAST_SCALE, MOST_BIAS, MOST_SCALE, RISKS

MAX_CHARACTERS = 1 << 20
MAX_DEPTH = 16
MAX_CLASSES = 10_000
MAX_SIDE = 4096  # of images, in pixels
MAX_NAME = 300  # letters
NESTED = ("model_args", "pretrained_cfg", "info")
Check = tuple[Callable[[Any], bool], str]  # whether a value is allowed, and what is


def parse_metadata(text: str, where: str) -> dict[str, Any]:
    """Return architecture, model_args, pretrained_cfg, info and calibration from the metadata of a weights file.

    Args:
        text: The metadata, JSON.
        where: Name of the file, for messages.

    Raises:
        InputError: If it is too large, too deep or no such JSON, or a value cannot be right.

    Example:
        >>> text = '{"architecture": "qcs_nano", "model_args": {}, "pretrained_cfg": {"std": [0, 0, 0]}, "info": {}}'
        >>> parse_metadata(text, "model.safetensors")
        Traceback (most recent call last):
        ...
        qcs.errors.InputError: model.safetensors states std [0, 0, 0]; expected one or three numbers from 0.001 to 1
    """
    if len(text) > MAX_CHARACTERS:
        raise InputError(f"{where} has metadata of {len(text):,} characters; expected at most {MAX_CHARACTERS:,}")
    try:
        config = json.loads(text)
        _check_tree(config)
        found = {key: dict(config[key]) if key in NESTED else config[key] for key in ("architecture", *NESTED)}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = brief(f"{type(error).__name__}: {error}")
        raise InputError(f"{where} has corrupt metadata ({reason}); save it again") from error
    check_preprocessing(found["pretrained_cfg"], where)
    if (calibration := config.get("calibration")) is not None:
        _check_calibration(calibration, where)
    return {**found, "calibration": calibration}


def check_preprocessing(cfg: Mapping[str, Any], where: str) -> None:
    """Check class names and preprocessing in timm's form.

    Raises:
        InputError: If a value is not of its type or out of range, or two classes have the same name.
    """
    _check(cfg, PREPROCESSING, where)
    names = cfg.get("label_names") or ()
    if len(set(names)) < len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise InputError(f"{where} states the class {brief(twice)!r} twice; class names must differ")


def check_arguments(args: Mapping[str, Any], where: str) -> None:
    """Check the arguments of a network against what networks of this library can have.

    Raises:
        InputError: If a value is not of its type or out of range.
    """
    _check(args, ARGUMENTS, where)


def _check_calibration(stored: Any, where: str) -> None:
    """Check the calibration against the bounds of what can be fitted."""
    if not isinstance(stored, dict):
        raise InputError(f"{where} states calibration {brief(repr(stored))}; expected an object with a label scaling")
    _check(stored, CALIBRATION, f"{where}, calibration,")
    missing = [name for name in ("label", "data", "split", "images") if stored.get(name) is None]
    if missing:
        raise InputError(f"{where} has a calibration without {', '.join(missing)}; fit it again with 'qcs calibrate'")


def _check(values: Mapping[str, Any], checks: Mapping[str, Check], where: str) -> None:
    for name, (allowed, expected) in checks.items():
        if (value := values.get(name)) is not None and not allowed(value):
            raise InputError(f"{where} states {name} {brief(repr(value))}; expected {expected}")


def _check_tree(node: Any, depth: int = 0) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
    if isinstance(node, float) and not math.isfinite(node):
        raise ValueError("it holds a number that is not finite")
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _check_tree(child, depth + 1)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _integer(least: int, most: int) -> Check:
    return (lambda value: _is_integer(value) and least <= value <= most), f"an integer from {least:,} to {most:,}"


def _integers(least: int, most: int) -> Check:
    def allowed(value: Any) -> bool:
        numbers = isinstance(value, list | tuple) and len(value) == 4
        return numbers and all(_is_integer(each) and least <= each <= most for each in value)

    return allowed, f"four integers from {least:,} to {most:,}"


def _number(least: float, most: float) -> Check:
    return (lambda value: _is_number(value) and least <= value <= most), f"a number from {least:g} to {most:g}"


def _colors(least: float, most: float) -> Check:
    def allowed(value: Any) -> bool:
        return (
            isinstance(value, list | tuple)
            and len(value) in (1, 3)
            and all(_is_number(each) and least <= each <= most for each in value)
        )

    return allowed, f"one or three numbers from {least:g} to {most:g}"


def _choice(*names: str) -> Check:
    return (lambda value: isinstance(value, str) and value in names), f"one of {', '.join(names)}"


def _is_size(value: Any) -> bool:
    sides = value if isinstance(value, list | tuple) else [value]
    return 1 <= len(sides) <= 2 and all(_is_integer(side) and 1 <= side <= MAX_SIDE for side in sides)


def _is_input_size(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 3 and value[0] in (1, 3) and _is_size(value[1:])


def _are_names(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) <= MAX_CLASSES and all(isinstance(x, str) for x in value)


def _are_backbone_arguments(value: Any, depth: int = 0) -> bool:
    """Whether every number is one that a backbone can have: none of a size that takes minutes or all memory."""
    if isinstance(value, dict):
        return depth < MAX_DEPTH and all(_are_backbone_arguments(each, depth + 1) for each in value.values())
    if isinstance(value, list | tuple):
        return len(value) <= 64 and all(_are_backbone_arguments(each, depth + 1) for each in value)
    return not isinstance(value, int | float) or abs(value) <= MAX_SIDE


def _are_numbers(value: Any, least: float, most: float) -> bool:
    listed = isinstance(value, list | tuple) and len(value) <= MAX_CLASSES
    return listed and all(_is_number(each) and least <= each <= most for each in value)


def _is_scaling(value: Any) -> bool:
    if not isinstance(value, dict) or not value.get("scale"):
        return False
    return _are_numbers(value["scale"], LEAST_SCALE, MOST_SCALE) and _are_numbers(
        value.get("bias", []), -MOST_BIAS, MOST_BIAS
    )


def _are_risks(value: Any) -> bool:
    listed = isinstance(value, list | tuple) and len(value) in (0, len(RISKS))
    return listed and _are_numbers([each for each in value if each is not None], 0, 1)


_RATE: Check = (lambda value: _is_number(value) and 0 <= value < 1, "a number of at least 0 and below 1")
_TEXT: Check = (lambda value: isinstance(value, str), "text")
_SIZE: Check = (_is_size, f"one or two integers from 1 to {MAX_SIDE:,}")
_FLAG: Check = (lambda value: isinstance(value, bool), "true or false")

PREPROCESSING: dict[str, Check] = {
    "input_size": (_is_input_size, f"one or three channels and two sides from 1 to {MAX_SIDE:,}"),
    "mean": _colors(0, 1),
    "std": _colors(0.001, 1),
    "crop_pct": _number(0.01, 2),
    "num_classes": _integer(0, MAX_CLASSES),
    "label_names": (_are_names, f"at most {MAX_CLASSES:,} names"),
    "interpolation": _choice("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos", "random"),
    "crop_mode": _choice("center", "squash", "border"),
    "classifier": (lambda value: isinstance(value, str) or _are_names(value), "names of layers"),
    "tag": _TEXT,
    "license": _TEXT,
}

_SCALING: Check = (
    _is_scaling,
    f"scale, numbers from {LEAST_SCALE:g} to {MOST_SCALE:g}, and bias, numbers from {-MOST_BIAS:g} to {MOST_BIAS:g}",
)
_NAME: Check = (lambda value: isinstance(value, str) and len(value) <= MAX_NAME, f"text of at most {MAX_NAME} letters")

CALIBRATION: dict[str, Check] = {
    "label": _SCALING,
    "votes": _SCALING,
    "data": _NAME,
    "split": _NAME,
    "images": _integer(1, 1 << 40),
    "sets": (lambda value: _are_numbers(value, 0, 1) and len(value) in (0, len(COVERAGES)), "50 numbers from 0 to 1"),
    "risks": (_are_risks, "20 numbers from 0 to 1, or null"),
}

ARGUMENTS: dict[str, Check] = {
    "backbone": _TEXT,
    "branches": _integer(1, 4),
    "num_classes": _integer(0, MAX_CLASSES),
    "in_chans": _integer(1, 3),
    "img_size": _SIZE,
    "grid_size": _integer(1, 64),
    "embed_dim": _integer(1, 8192),
    "base_depth": _integer(0, 64),
    "cross_depth": _integer(0, 64),
    "num_heads": _integer(1, 128),
    "mlp_ratio": _number(0.01, 32),
    "extra_centers": _integer(0, MAX_CLASSES),
    "depth": _integer(1, 64),
    "depths": _integers(1, 64),
    "widths": _integers(1, 8192),
    "landmarks": _FLAG,
    "mix_tokens": _FLAG,
    "reverse_channels": _FLAG,
    "freeze_stem": _FLAG,
    "drop_rate": _RATE,
    "base_drop_rate": _RATE,
    "cross_drop_rate": _RATE,
    "drop_path_rate": _RATE,
    "drop_attention_projection": _FLAG,
    "backbone_args": (
        lambda value: isinstance(value, dict) and _are_backbone_arguments(value),
        f"arguments by name, no number beyond {MAX_SIDE:,}",
    ),
}
