"""The token transformer against its formula, its dropout sites and its checkpointing."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from qcs.errors import InputError
from qcs.layers import TokenTransformer

DIM, TOKENS, HEADS = 8, 6, 2


def build(**options: Any) -> TokenTransformer:
    """A small transformer with random biases and norms, so that each of them counts."""
    model = TokenTransformer(DIM, TOKENS, 3, **{"num_heads": HEADS, **options})
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1 and not name.startswith("head"):
            nn.init.normal_(parameter, std=0.5)
    return model


def normed(x: Tensor, norm: Any) -> Tensor:
    centered = x - x.mean(-1, keepdim=True)
    return centered / (centered.square().mean(-1, keepdim=True) + 1e-6).sqrt() * norm.weight + norm.bias


def attended(x: Tensor, attention: Any) -> Tensor:
    width = DIM // HEADS
    q, k, v = F.linear(x, attention.qkv.weight, attention.qkv.bias).split(DIM, dim=-1)
    heads = []
    for start in range(0, DIM, width):
        part = slice(start, start + width)
        scores = q[..., part] @ k[..., part].mT / math.sqrt(width)
        heads.append(scores.softmax(-1) @ v[..., part])
    return F.linear(torch.cat(heads, -1), attention.proj.weight, attention.proj.bias)


def test_stochastic_depth_skips_every_block_at_its_rate() -> None:
    model, x = build(depth=2, drop_path_rate=0.5), torch.randn(400, TOKENS, DIM)
    assert [block.drop_path1.drop_prob for block in model.blocks] == [0.5, 0.5]
    tokens = torch.randn(2000, 1 + TOKENS, DIM)
    changed = (model.blocks[0](tokens) != tokens).flatten(1).any(1)
    assert 0.7 < changed.float().mean() < 0.8  # attention or MLP run: 1 - 0.5 * 0.5
    model.eval()
    plain = build(depth=2).eval()
    plain.load_state_dict(model.state_dict())
    assert torch.equal(model(x), plain(x))


def test_transformer_is_its_formula() -> None:
    model, x = build(depth=2).eval(), torch.randn(2, TOKENS, DIM)
    y = torch.cat((model.cls_token.expand(2, 1, DIM), x), 1) + model.pos_embed
    for block in model.blocks:
        y = y + attended(normed(y, block.norm1), block.attn)
        hidden = F.gelu(F.linear(normed(y, block.norm2), block.mlp.fc1.weight, block.mlp.fc1.bias))
        y = y + F.linear(hidden, block.mlp.fc2.weight, block.mlp.fc2.bias)
    y = normed(y, model.norm)
    assert_close(model.forward_features(x), y)
    token = y[:, 0]
    squeezed = F.linear(token, model.gate.linear1.weight, model.gate.linear1.bias).clamp(min=0)
    gated = token * torch.sigmoid(F.linear(squeezed, model.gate.linear2.weight, model.gate.linear2.bias))
    assert_close(model.forward_head(y, pre_logits=True), gated)
    assert_close(model(x), F.linear(gated, model.head.weight, model.head.bias))


def test_each_dropout_site_has_its_rate() -> None:
    model = build(drop_rate=0.3, proj_drop_rate=0.1)
    rates = {name: module.p for name, module in model.named_modules() if isinstance(module, nn.Dropout)}
    assert {name: rate for name, rate in rates.items() if rate > 0} == {
        "pos_drop": 0.3,
        "blocks.0.mlp.drop1": 0.3,
        "blocks.0.mlp.drop2": 0.3,
        "blocks.0.attn.proj_drop": 0.1,
    }


@pytest.mark.parametrize("site", ["pos_drop", "blocks.0.mlp.drop1", "blocks.0.mlp.drop2", "blocks.0.attn.proj_drop"])
def test_each_dropout_site_is_random_in_training_and_off_in_evaluation(site: str) -> None:
    model, x = build(), torch.randn(2, TOKENS, DIM)
    model.get_submodule(site).p = 0.5
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


@pytest.mark.parametrize("drop_rate", [0.0, 0.3])
def test_checkpointing_changes_neither_output_nor_gradients(drop_rate: float) -> None:
    model, x = build(depth=2, drop_rate=drop_rate, proj_drop_rate=drop_rate), torch.randn(2, TOKENS, DIM)
    runs = []
    for model.grad_checkpointing in (False, True):
        torch.manual_seed(1)
        out = model(x)
        runs.append((out, torch.autograd.grad(out.square().sum(), list(model.parameters()))))
    assert_close(runs[1], runs[0])


def test_every_parameter_receives_a_gradient() -> None:
    model = build(depth=2)
    model(torch.randn(2, TOKENS, DIM)).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())


def test_depth_and_mlp_ratio_set_the_sizes() -> None:
    model = build(depth=3, mlp_ratio=2.0)
    assert [block.mlp.fc1.out_features for block in model.blocks] == [2 * DIM] * 3


def test_without_classes_the_gated_class_token_comes_out() -> None:
    model, x = build(), torch.randn(2, TOKENS, DIM)
    gated = model.forward_head(model.forward_features(x), pre_logits=True)
    model.reset_classifier(0)
    assert_close(model(x), gated)
    assert TokenTransformer(DIM, TOKENS, 0, num_heads=HEADS)(x).shape == (2, DIM)


def test_fresh_head_starts_like_the_first_in_the_dtype_of_the_network() -> None:
    model = build().to(torch.bfloat16)
    model.reset_classifier(5)
    assert not model.head.bias.any()
    assert model(torch.randn(2, TOKENS, DIM, dtype=torch.bfloat16)).shape == (2, 5)


def test_heads_that_do_not_divide_the_channels_are_refused() -> None:
    with pytest.raises(InputError, match="num_heads must divide the 8 channels of the tokens, got 3"):
        build(num_heads=3)


@pytest.mark.parametrize("shape", [(2, TOKENS + 1, DIM), (2, TOKENS, DIM + 1), (TOKENS, DIM)], ids=str)
def test_tokens_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=re.escape(f"expected tokens (B, 6, 8), got shape {shape}")):
        build()(torch.randn(shape))
