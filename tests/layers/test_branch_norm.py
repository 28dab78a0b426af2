"""Batch norm of several branches at once against the branches one after another."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import timm
import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.testing import assert_close

from qcs.errors import InputError
from qcs.layers import branch_norm
from qcs.layers.branch_norm import branches_at_once, convert_branch_batch_norm, separates_branches
from qcs.layers.recompute import recompute

EXACT: dict[str, Any] = dict(rtol=1e-10, atol=1e-12)


def step(network: nn.Module, parts: list[Tensor], at_once: bool) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs of every branch, and gradients of parameters and images for a random upstream gradient."""
    images = [x.clone().requires_grad_() for x in parts]
    if at_once:
        with branches_at_once(network, len(parts)):
            out = network(torch.cat(images)).chunk(len(parts))
    else:
        out = [network(x) for x in images]
    generator = torch.Generator().manual_seed(1)
    torch.cat([y * torch.randn(y.shape, generator=generator, dtype=y.dtype) for y in out]).sum().backward()
    return list(out), [p.grad for p in (*network.parameters(), *images) if p.grad is not None]


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, BatchNormAct2d])
@pytest.mark.parametrize("branches", [2, 4])
def test_branches_at_once_are_branches_in_turn(norm: type[nn.Module], branches: int) -> None:
    network = nn.Sequential(nn.Conv2d(3, 5, 3), norm(5), nn.Conv2d(5, 4, 1), norm(4)).double()
    plain = copy.deepcopy(network)
    assert convert_branch_batch_norm(network) is network and separates_branches(network)
    parts = [torch.randn(3, 3, 7, 5, dtype=torch.float64) * (1 + i) + i for i in range(branches)]
    (out, gradients), (expected, wanted) = step(network, parts, at_once=True), step(plain, parts, at_once=False)
    assert_close(out, expected, **EXACT)
    assert_close(gradients, wanted, **EXACT)
    assert_close(network.state_dict(), plain.state_dict(), **EXACT)
    assert int(network[1].num_batches_tracked) == branches


def test_outside_and_in_evaluation_it_is_the_norm_that_it_was() -> None:
    plain, network = nn.BatchNorm2d(3), convert_branch_batch_norm(nn.BatchNorm2d(3))
    images = torch.randn(4, 3, 5, 5)
    assert torch.equal(network(images), plain(images))
    with branches_at_once(network.eval(), 2):
        assert torch.equal(network(images), plain.eval()(images))
    assert torch.equal(network.train()(images), plain.train()(images))


@pytest.mark.parametrize("name", ["resnet10t", "tf_mobilenetv3_small_075", "vit_tiny_patch16_224"])
def test_norms_of_timm_can_be_split_and_keep_their_names(name: str) -> None:
    network = timm.create_model(name)
    keys = list(network.state_dict())
    assert separates_branches(convert_branch_batch_norm(network))
    assert list(network.state_dict()) == keys


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(3), BatchNormAct2d(3), nn.BatchNorm2d(3, affine=False)])
def test_a_converted_norm_is_a_new_one_with_the_parameters_and_buffers_of_the_old(norm: nn.Module) -> None:
    before = type(norm)
    converted = convert_branch_batch_norm(norm.eval())
    assert converted is not norm and type(norm) is before
    assert isinstance(converted, before) and type(converted) is not before
    assert not converted.training
    for (name, old), (same, new) in zip(norm.state_dict().items(), converted.state_dict().items(), strict=True):
        assert name == same and new.data_ptr() == old.data_ptr()
    assert all(x is y for x, y in zip(norm.parameters(), converted.parameters(), strict=True))
    assert repr(converted.extra_repr()) == repr(norm.extra_repr())
    assert convert_branch_batch_norm(converted) is converted


def test_converted_norms_keep_the_activation_of_timm() -> None:
    norm = BatchNormAct2d(3, act_layer=nn.SiLU)
    converted: Any = convert_branch_batch_norm(norm)
    assert isinstance(converted.act, nn.SiLU)
    images = torch.randn(2, 3, 4, 4)
    assert torch.equal(converted(images), norm(images))


def test_pytorch_s_conversion_is_seen_and_refused_where_it_drops_activations() -> None:
    plain = convert_branch_batch_norm(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)))
    assert not separates_branches(nn.SyncBatchNorm.convert_sync_batchnorm(plain))
    with_activation = convert_branch_batch_norm(nn.Sequential(nn.Conv2d(3, 4, 1), BatchNormAct2d(4)))
    with pytest.raises(InputError, match=r"removed activations of this network .* batch_norm='world'"):
        separates_branches(nn.SyncBatchNorm.convert_sync_batchnorm(with_activation))


def test_other_norms_over_the_batch_are_not_taken_for_split() -> None:
    assert not separates_branches(convert_branch_batch_norm(nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm1d(3))))


def test_recomputing_leaves_the_statistics_of_all_processes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(branch_norm, "several_processes", lambda: True)
    monkeypatch.setattr(branch_norm, "mean_over_processes", lambda x: x)
    monkeypatch.setattr(branch_norm.dist, "get_world_size", lambda: 1)
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).double()
    convert_branch_batch_norm(network, world=True)
    plain = copy.deepcopy(network)
    images = torch.randn(3, 3, 4, 4, dtype=torch.float64)
    recompute(network, images).square().sum().backward()
    plain(images).square().sum().backward()
    assert_close([p.grad for p in network.parameters()], [p.grad for p in plain.parameters()], **EXACT)
    assert_close(network.state_dict(), plain.state_dict(), **EXACT)


def test_over_processes_the_formula_is_that_of_the_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), BatchNormAct2d(4)).double()
    convert_branch_batch_norm(network, world=True)
    plain = copy.deepcopy(network)
    parts = [torch.randn(3, 3, 4, 4, dtype=torch.float64) for _ in range(2)]
    expected = step(plain, parts, at_once=True)
    monkeypatch.setattr(branch_norm, "several_processes", lambda: True)
    monkeypatch.setattr(branch_norm, "mean_over_processes", lambda x: x)
    monkeypatch.setattr(branch_norm.dist, "get_world_size", lambda: 1)
    assert_close(step(network, parts, at_once=True), expected, **EXACT)
    assert_close(network.state_dict(), plain.state_dict(), **EXACT)


@pytest.mark.parametrize("norm", [torch.nn.BatchNorm2d(3, affine=False), torch.nn.BatchNorm2d(3, momentum=None)])
def test_norms_that_cannot_span_the_world_are_named(norm: torch.nn.Module) -> None:
    converted = convert_branch_batch_norm(norm, world=True)
    assert separates_branches(converted)
    assert not separates_branches(converted, world=True)
