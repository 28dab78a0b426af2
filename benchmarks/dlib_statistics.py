"""Measure what ships as `qcs/models/dlib_resnet29.statistics.safetensors`.

dlib's file holds affine layers, which batch norms replace in `qcs.models.dlib_resnet`. In evaluation mode their
statistics do not change a value; in training they are where the running mean begins. They are measured on photographs
of faces: python -m benchmarks.dlib_statistics FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from qcs.data.images import open_image
from qcs.data.transforms import eval_transform
from qcs.models.dlib_file import STATISTICS, convert, installed_file

IMAGES, SIDE, BATCH = 1024, 112, 32


def measure(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Return mean and variance of each channel of the input of every batch norm, float32 (C,) each."""
    norms = {name: module for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    sums = {name: torch.zeros(3, module.num_features, dtype=torch.float64) for name, module in norms.items()}

    def count(name: str, x: Tensor) -> None:
        x = x.double()
        sums[name] += torch.stack([torch.ones_like(x), x, x.square()]).sum((1, 3, 4))

    hooks = [
        module.register_forward_pre_hook(lambda _, inputs, name=name: count(name, inputs[0]))
        for name, module in norms.items()
    ]
    with torch.inference_mode():
        for batch in torch.split(images, BATCH):
            model(batch)
    for hook in hooks:
        hook.remove()
    found: dict[str, Tensor] = {}
    for name, (number, total, squares) in sums.items():
        mean = total / number
        found |= {f"{name}.mean": mean.float(), f"{name}.var": (squares / number - mean**2).clamp_min(1e-6).float()}
    return found


def main(folder: Path) -> None:
    """Measure on the first images of a folder, by name, and write the file."""
    model = timm.create_model("dlib_resnet29").eval()
    model.load_state_dict(convert(installed_file().read_bytes(), {}))
    transform = eval_transform({**model.pretrained_cfg, "input_size": (3, SIDE, SIDE)})
    paths = sorted(path for path in folder.rglob("*") if path.suffix in (".jpg", ".png"))[:IMAGES]
    save_file(measure(model, torch.stack([transform(open_image(path)) for path in paths])), STATISTICS)
    print(f"wrote {STATISTICS} from {len(paths):,} images")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
