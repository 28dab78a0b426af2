"""Save and restore the state of a training run: everything that decides how it continues."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, set_seed
from torch import nn

from qcs.engine.run_folder import CONFIG, RunFolder
from qcs.engine.training.config import TrainConfig
from qcs.engine.training.settings import settings_of
from qcs.engine.training.step import TrainingStep
from qcs.errors import InputError
from qcs.samplers.branch_sampler import BranchSampler


def training_state(
    step: TrainingStep, model: nn.Module, sampler: BranchSampler, batches: int, accelerator: Accelerator
) -> dict[str, Any]:
    """Return weights, states of objective and optimizer, averaged weights, place in the data, random generators.

    All processes must call it.

    Args:
        step: The optimizer step, between two calls.
        model: The network, not wrapped.
        sampler: Draws the batches; worker processes may have drawn more of them than were trained on.
        batches: Number of batches of the epoch that were trained on.
        accelerator: Device and processes.
    """
    return {
        "steps": step.taken,
        "model": model.state_dict(),
        "objective": step.loss.state_dict(),
        "optimizer": step.optimizer.optimizer.state_dict(),
        "ema": None if step.ema is None else step.ema.module.state_dict(),
        "sampler": {**sampler.state_dict(), "batch": batches},
        "random": gather_object([_random_numbers(accelerator.device)]),
    }


def check_unchanged(folder: RunFolder, saved: Mapping[str, Any], read: Mapping[str, Any]) -> None:
    """Check that the settings in `config.json` are those that the run trained with.

    Where the data lies and what is a matter of the machine (paths, loader processes, time between checkpoints) may
    differ.

    Args:
        folder: The run folder.
        saved: Settings in the checkpoint.
        read: Settings in the file.

    Raises:
        InputError: If a setting was edited; the message names it and both values.
    """
    fixed = [each.name for each in settings_of(TrainConfig) if each.role not in ("machine", "data")]
    before, now = ({name: json.dumps(values.get(name)) for name in fixed} for values in (saved, read))
    if edited := [f"{name} is {now[name]}, was {before[name]}" for name in fixed if now[name] != before[name]]:
        raise InputError(
            f"{folder.path / CONFIG} was edited since the run began: {'; '.join(edited)}; put the values back, or "
            "start a new run from its weights with --init"
        )


def restore(
    state: dict[str, Any],
    step: TrainingStep,
    model: nn.Module,
    sampler: BranchSampler,
    accelerator: Accelerator,
    seed: int,
) -> int:
    """Restore a new run to the state that `training_state` returned; return the batches done of the epoch.

    With another number of processes the run continues after the same anchors, with other random numbers.
    """
    step.taken = state["steps"]
    model.load_state_dict(state["model"])
    step.loss.load_state_dict(state.get("objective", {}))  # that of the joint loss is empty
    step.optimizer.optimizer.load_state_dict(state["optimizer"])
    _lay_out_as_weights(step.optimizer.optimizer)
    if step.ema is not None:
        step.ema.module.load_state_dict(state["ema"])
    place = _for_processes(state["sampler"], accelerator.num_processes, most=len(sampler))
    sampler.load_state_dict(place)
    if len(state["random"]) == accelerator.num_processes:
        _set_random_numbers(state["random"][accelerator.process_index], accelerator.device)
    else:
        set_seed(seed + step.taken, device_specific=True)
    return int(place["batch"])


def _lay_out_as_weights(optimizer: torch.optim.Optimizer) -> None:
    """Give the optimizer state of each weight the memory format of the weight, which a fused optimizer requires."""
    for weight, kept in optimizer.state.items():
        kept |= {
            name: torch.empty_like(weight, dtype=value.dtype).copy_(value)
            for name, value in kept.items()
            if value.shape == weight.shape
        }


def _for_processes(sampler: dict[str, Any], processes: int, most: int) -> dict[str, Any]:
    """The state of the sampler after as many anchors with another number of processes, rounded up to a batch."""
    batch = -(-sampler["batch"] * sampler["world_size"] // processes)
    return {**sampler, "batch": min(batch, most), "world_size": processes}


def _random_numbers(device: torch.device) -> dict[str, Any]:
    own = torch.get_device_module(device).get_rng_state(device) if device.type != "cpu" else None
    return {"cpu": torch.get_rng_state(), "device": own}


def _set_random_numbers(state: dict[str, Any], device: torch.device) -> None:
    torch.set_rng_state(state["cpu"])
    if state["device"] is not None and device.type != "cpu":
        torch.get_device_module(device).set_rng_state(state["device"], device)
