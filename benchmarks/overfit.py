"""Show that each network of another method learns 64 faces by heart, by its own objective.

`python -m benchmarks.overfit --network ada_df_resnet18`

One network at a time, or all without `--network`. The results are merged into a file, and a network that is in it is
left out, so that an interrupted run goes on. Sizes are reduced where a network allows it. The first step is one with
SAM where the official training has it; after it every parameter that should have a gradient must have a finite one.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from timm.data import resolve_model_data_config
from torch import Tensor

import qcs
from qcs.data import eval_transform
from qcs.data.synthetic import synthetic_faces
from qcs.engine.training import SAM
from qcs.engine.training.objective import EpochObjective, end_epoch, to_train
from qcs.engine.training.step import TrainingStep
from qcs.files import write_text
from qcs.models.peers import PeerNetwork

FACES, BATCH, EPOCHS = 64, 16, 150
RESULTS = Path(__file__).with_suffix(".json")


@dataclass(frozen=True)
class Reduced:
    """How a network is made smaller, and how it is trained."""

    args: dict[str, Any] = field(default_factory=dict)
    lr: float = 1e-3
    rho: float = 0.0


NETWORKS: dict[str, Reduced] = {
    "ada_df_resnet18": Reduced(dict(img_size=32)),
    "dan_resnet18": Reduced(dict(img_size=32)),
    "ddamfn": Reduced(dict(img_size=32), rho=0.05),
    "gsdnet_resnet50": Reduced(dict(img_size=48), lr=3e-4),
    "lnsu_swin_tiny": Reduced(dict(img_size=32), lr=1e-4),
    "mfer_convnext_base": Reduced(dict(img_size=64, depths=(1, 1, 1, 1), widths=(32, 48, 64, 96))),
    "poster_ir50_small": Reduced(dict(depth=1), lr=1e-4, rho=0.05),
    "poster_v2_ir50": Reduced(lr=1e-4, rho=0.05),
    "poster_v2_ir50_nolm": Reduced(lr=1e-4, rho=0.05),
}


def learned(name: str, epochs: int = EPOCHS) -> dict[str, Any]:
    """Return what a network learned of the faces, after at most that many epochs."""
    reduced = NETWORKS[name]
    torch.manual_seed(0)
    model = cast(PeerNetwork, qcs.create_model(name, num_classes=7, **reduced.args))
    images, labels = faces(model)
    objective = model.objective(labels.bincount(minlength=7))
    parameters = [p for p in (*model.parameters(), *objective.parameters()) if p.requires_grad]
    sam = SAM(torch.optim.Adam(parameters, lr=reduced.lr), reduced.rho)
    step = TrainingStep(to_train(model), sam, objective, Accelerator(cpu=True))
    started, accuracy = time.process_time(), 0.0
    history: list[float] = []
    without: set[str] = set()
    while len(history) < epochs and accuracy < 1:
        for rows in torch.split(torch.randperm(FACES), BATCH):
            model.train()
            values = step([([images[rows]], labels[rows][None])])
            if step.taken == 1:
                without = {key for key, p in model.named_parameters() if p.requires_grad and not _has_gradient(p)}
                sam.rho = 0.0  # one step with SAM; the others cost half
        history.append(float(values["loss"]))
        if isinstance(objective, EpochObjective):
            batches = (([images[rows]], labels[rows][None]) for rows in torch.split(torch.arange(FACES), BATCH))
            end_epoch(objective, model, batches, step.accelerator, step.autocast())
        accuracy = accuracy_of(model, images, labels)
    return {
        "arguments": reduced.args,
        "side": images.shape[-1],
        "parameters": sum(p.numel() for p in model.parameters()),
        "sam": reduced.rho > 0,
        "parameters_without_finite_gradient": sorted(without),
        "epochs": len(history),
        "accuracy": accuracy,
        "first_loss": history[0],
        "last_loss": history[-1],
        "processor_seconds": round(time.process_time() - started, 1),
    }


def faces(model: PeerNetwork) -> tuple[Tensor, Tensor]:
    """Return synthetic faces (64, 3, side, side), prepared for a network, and their labels (64,)."""
    prepare = eval_transform(resolve_model_data_config(model))
    drawn = synthetic_faces(FACES, size=64)
    return torch.stack([prepare(image) for image in drawn.images]), torch.from_numpy(drawn.labels).long()


@torch.inference_mode()
def accuracy_of(model: PeerNetwork, images: Tensor, labels: Tensor) -> float:
    """Return the accuracy in evaluation mode, in [0, 1]."""
    logits = torch.cat([model.eval()(part) for part in torch.split(images, BATCH)])
    return float((logits.argmax(1) == labels).float().mean())


def _has_gradient(parameter: Tensor) -> bool:
    return parameter.grad is not None and bool(parameter.grad.isfinite().all())


def main() -> None:
    """Train the networks that are not in the file yet, and write their results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=NETWORKS, action="append", help="again for more; default all")
    parser.add_argument("--output", type=Path, default=RESULTS, help="file to write")
    options = parser.parse_args()
    results: dict[str, Any] = json.loads(options.output.read_text()) if options.output.exists() else {}
    for name in options.network or NETWORKS:
        if name not in results:
            results[name] = learned(name)
            write_text(options.output, json.dumps(results, indent=2, sort_keys=True) + "\n")
        found = results[name]
        print(f"{name}: {found['accuracy']:.0%} of {FACES} faces after {found['epochs']} epochs", flush=True)


if __name__ == "__main__":
    main()
