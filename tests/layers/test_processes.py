"""Two processes that compare their images together against one that has them all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from qcs.errors import InputError
from qcs.layers import CrossSimilarityAttention, DualCrossModule, QuadrupletCrossModule

MODULES: dict[str, Any] = {"dual": DualCrossModule, "quadruplet": QuadrupletCrossModule}
PROCESS = """
import sys, torch, torch.distributed as dist
from qcs.layers import DualCrossModule, QuadrupletCrossModule
folder, rank = sys.argv[1], int(sys.argv[2])
modules = {"dual": DualCrossModule, "quadruplet": QuadrupletCrossModule}
dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
results = {}
for (kind, scope, backend), given in torch.load(f"{folder}/given.pt").items():
    module = modules[kind](8, scope=scope, backend=backend).double()
    module.load_state_dict(given["weights"])
    share = slice(0, 1) if rank == 0 else slice(1, 4)
    tokens = [x[share].clone().requires_grad_() for x in given["tokens"]]
    out = module(*tokens)
    sum((y * u[share]).sum() for y, u in zip(out, given["upstream"])).backward()
    gradients = {name: p.grad for name, p in module.named_parameters()}
    results[kind, scope, backend] = {"out": list(out), "tokens": [x.grad for x in tokens], "weights": gradients}
torch.save(results, f"{folder}/{rank}.pt")
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_with_scope_world_two_processes_are_one_with_both_batches(tmp_path: Path) -> None:
    given, expected = {}, {}
    for kind, branches in (("dual", 2), ("quadruplet", 4)):
        module = MODULES[kind](8).double()
        tokens = [torch.randn(4, 5, 8, dtype=torch.float64) for _ in range(branches)]
        for x in tokens:
            x[3] = x[0]  # extrema may tie across the processes, which have samples 0 and 1 to 3
            x.requires_grad_()
        upstream = [torch.randn(4, 5, 8, dtype=torch.float64) for _ in range(branches)]
        out = module(*tokens)
        torch.stack([(y * u).sum() for y, u in zip(out, upstream, strict=True)]).sum().backward()
        expected[kind] = out, tokens, module
        for scope, backend in (("world", "analytic"), ("world", "reference"), ("batch", "analytic")):
            weights, detached = module.state_dict(), [x.detach() for x in tokens]
            given[kind, scope, backend] = {"weights": weights, "tokens": detached, "upstream": upstream}
    pieces = in_two_processes(tmp_path, given)
    for kind, (out, tokens, module) in expected.items():
        for backend in ("analytic", "reference"):
            world = [piece[kind, "world", backend] for piece in pieces]
            for branch, (y, x) in enumerate(zip(out, tokens, strict=True)):
                assert_close(torch.cat([piece["out"][branch] for piece in world]), y, rtol=1e-11, atol=1e-13)
                assert_close(torch.cat([piece["tokens"][branch] for piece in world]), x.grad, rtol=1e-9, atol=1e-12)
            for name, parameter in module.named_parameters():
                total = world[0]["weights"][name] + world[1]["weights"][name]
                assert_close(total, parameter.grad, rtol=1e-9, atol=1e-12)
        apart = torch.cat([piece[kind, "batch", "analytic"]["out"][0] for piece in pieces])
        assert not torch.allclose(apart, out[0], rtol=1e-3)


def in_two_processes(folder: Path, given: dict[tuple[str, str, str], Any]) -> list[Any]:
    torch.save(given, folder / "given.pt")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([sys.executable, "-c", PROCESS, str(folder), str(rank)], env=environment) for rank in range(2)
    ]
    assert [process.wait(200) for process in processes] == [0, 0]
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def test_in_one_process_the_world_is_the_batch() -> None:
    layer = CrossSimilarityAttention(8)
    alone = CrossSimilarityAttention(8, scope="world")
    alone.load_state_dict(layer.state_dict())
    tokens = torch.randn(2, 3, 5, 8)
    for got, expected in zip(alone(*tokens), layer(*tokens), strict=True):
        assert torch.equal(got, expected)


def test_an_unknown_scope_names_the_known_ones() -> None:
    scope: Any = "processes"
    with pytest.raises(InputError, match="one of batch, sample, world"):
        CrossSimilarityAttention(8, scope=scope)
