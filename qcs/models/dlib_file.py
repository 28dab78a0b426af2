"""Read the weights of dlib's face recognition network, which the package `face-recognition-models` installs.

The package is never imported: its import needs the deprecated `pkg_resources`. Of its files only this one is read;
another, a predictor of 68 landmarks, is not free for commercial use.
"""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from huggingface_hub import cached_assets_path
from safetensors.torch import load_file, save_file
from torch import Tensor

from qcs.errors import InputError
from qcs.files import replacing, sha256, writing
from qcs.imports import require

MODULE = "face_recognition_models"
FILE = "models/dlib_face_recognition_resnet_model_v1.dat"
SHA256 = "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30"
STATISTICS = Path(__file__).with_name("dlib_resnet29.statistics.safetensors")
"""Mean and variance, per channel, of the output of every convolution on photographs of faces."""

UNITS = (3, 4, 3, 3, 1)
EPS = 1e-5
SCALE = 255 / 256
"""dlib divides pixels by 256, the preprocessing of timm by 255."""


def converted_weights(cache: Path | None = None) -> Path:
    """Return the weights as a safetensors file in the layout of `DlibResNet`, converted on the first call.

    Args:
        cache: Folder to keep the file in; None is the cache of huggingface_hub.

    Raises:
        MissingExtraError: If the package is not installed.
        InputError: If its file is missing or not the expected one.
        OSError: If the file cannot be written.
    """
    source = installed_file()
    folder = cached_assets_path("qcs", "dlib_resnet29") if cache is None else cache
    path = folder / f"{SHA256[:12]}-{sha256(STATISTICS)[:12]}.safetensors"
    if not path.exists():
        with writing(path), replacing(path) as unfinished:
            save_file(convert(source.read_bytes(), load_file(STATISTICS)), unfinished)
    return path


def installed_file() -> Path:
    """Return the file in the installed package, after checking its checksum.

    Raises:
        MissingExtraError: If the package is not installed.
        InputError: If the file is missing or not the expected one.
    """
    require(MODULE, extra="face-backbone", purpose="dlib_resnet29 with pretrained weights")
    spec = importlib.util.find_spec(MODULE)
    folders = list(spec.submodule_search_locations or []) if spec else []
    path = next((Path(folder, FILE) for folder in folders if Path(folder, FILE).is_file()), None)
    if path is None:
        raise InputError(f"the installed package face-recognition-models has no {FILE}; reinstall version 0.3.0")
    if (found := sha256(path)) != SHA256:
        raise InputError(
            f"{path} is not the expected file (SHA-256 {found}, expected {SHA256}); reinstall face-recognition-models "
            "0.3.0"
        )
    return path


def convert(data: bytes, statistics: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of `DlibResNet` for the bytes of dlib's file.

    Each of dlib's affine layers becomes a batch norm with the given statistics of its input and the scale and bias
    that give the same values in evaluation mode.

    Args:
        data: Contents of the file; its checksum has been checked.
        statistics: `<norm>.mean` and `<norm>.var`, each (C,), for every batch norm; without an entry 0 and 1.
    """
    state: dict[str, Tensor] = {}
    pairs = zip(_places(), _parameters(data, "con_4"), _parameters(data, "affine_"), strict=True)
    for (conv, norm), filters, affine in pairs:
        scale, shift = affine.view(2, -1).double()
        weight, bias = filters[: -len(scale)], filters[-len(scale) :].double()
        mean = statistics.get(f"{norm}.mean", torch.zeros(len(scale))).double()
        var = statistics.get(f"{norm}.var", torch.ones(len(scale))).double()
        side = 7 if conv == "stem.conv" else 3
        weight = weight.view(len(scale), -1, side, side)
        state |= {
            f"{conv}.weight": weight * SCALE if conv == "stem.conv" else weight.clone(),
            f"{norm}.weight": (scale * (var + EPS).sqrt()).float(),
            f"{norm}.bias": (shift + scale * (bias + mean)).float(),
            f"{norm}.running_mean": mean.float(),
            f"{norm}.running_var": var.float(),
            f"{norm}.num_batches_tracked": torch.tensor(0),
        }
    (linear,) = _parameters(data, "fc_2", sizes_before=2)
    weight = linear.view(-1, 128).T.contiguous()
    return state | {"head.fc.weight": weight, "head.fc.bias": torch.zeros(len(weight))}


def _places() -> Iterator[tuple[str, str]]:
    """Yield the names of every convolution and its batch norm, in the order of the file."""
    yield "stem.conv", "stem.norm"
    for stage, units in enumerate(UNITS):
        for unit in range(units):
            for number in (1, 2):
                yield f"stages.{stage}.{unit}.conv{number}", f"stages.{stage}.{unit}.norm{number}"


def _parameters(data: bytes, kind: str, sizes_before: int = 0) -> Iterator[Tensor]:
    """Yield the parameters of the layers of one kind, flat, in the order of the file.

    A layer begins with the length and letters of its kind. The checksum fixes every byte of the file, so looking for
    these letters finds the layers and nothing else.
    """
    for tag in re.finditer(re.escape(bytes([1, len(kind)]) + kind.encode()), data):
        position = tag.end()
        for _ in range(sizes_before + 1):  # the sizes of a linear layer, then the version of the tensor
            _, position = _integer(data, position)
        sizes = []
        for _ in range(4):
            size, position = _integer(data, position)
            sizes.append(size)
        yield torch.frombuffer(bytearray(data[position : position + 4 * math.prod(sizes)]), dtype=torch.float32)


def _integer(data: bytes, position: int) -> tuple[int, int]:
    """Return the integer that begins at a position, and the position behind it: a count of bytes, then the bytes."""
    end = position + 1 + data[position]
    return int.from_bytes(data[position + 1 : end], "little"), end
