"""Steps of SAM that compare and normalize over the images of all processes: `python tests/world_steps.py FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from accelerate import Accelerator

import qcs
from qcs.engine.training import SAM
from qcs.engine.training.step import TrainingStep
from qcs.losses import JointLoss

STEPS = 4
LABELS = torch.tensor([[0, 1, 2, 0], [0, 1, 2, 0], [1, 2, 0, 2], [1, 2, 0, 2]])


def take_steps(folder: Path) -> None:
    """Train on this process's share of the batches; the first process writes losses and weights."""
    accelerator = Accelerator(cpu=True)
    torch.manual_seed(0)
    model = qcs.create_model("qcs_nano", num_classes=3, scope="world", batch_norm="world").double()
    network = accelerator.prepare_model(model)
    take = TrainingStep(network, SAM(torch.optim.Adam(network.parameters(), lr=1e-4), 0.05), JointLoss(), accelerator)
    generator, losses = torch.Generator().manual_seed(1), []
    size = 4 // accelerator.num_processes
    own = slice(accelerator.process_index * size, (accelerator.process_index + 1) * size)
    for _ in range(STEPS):
        images = torch.randn(4, 4, 3, 48, 48, generator=generator, dtype=torch.float64)
        loss = take([([x[own] for x in images], LABELS[:, own])])["loss"]
        losses.append(float(accelerator.reduce(loss, reduction="mean")))
    if accelerator.is_main_process:
        torch.save({"losses": losses, "weights": model.state_dict()}, folder / f"{accelerator.num_processes}.pt")
    accelerator.end_training()


if __name__ == "__main__":
    take_steps(Path(sys.argv[1]))
