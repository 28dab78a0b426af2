"""What is chosen by what the machine computes best."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import qcs
from qcs.engine.training.hardware import native_precision, use_plain_attention


@pytest.mark.parametrize(("capable", "expected"), [(True, "bf16"), (False, "fp32")])
def test_bfloat16_is_chosen_only_where_the_processor_computes_it(
    monkeypatch: pytest.MonkeyPatch, capable: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": capable, "avx2": True}, raising=False)
    assert native_precision() == expected


@pytest.mark.parametrize(("capable", "expected"), [(True, "bf16"), (False, "fp32")])
def test_on_a_graphics_card_emulated_bfloat16_does_not_count(
    monkeypatch: pytest.MonkeyPatch, capable: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or capable
    )
    assert native_precision() == expected


def test_plain_attention_computes_the_same() -> None:
    model: Any = qcs.create_model("base_nano").eval()
    images = torch.randn(2, 3, 48, 48)
    fused = model(images)
    assert any(getattr(module, "fused_attn", False) for module in model.modules())
    use_plain_attention(model)
    assert not any(getattr(module, "fused_attn", False) for module in model.modules())
    torch.testing.assert_close(model(images), fused)
