"""The maps are what the network computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import qcs
from qcs.errors import InputError
from qcs.visualize import Comparison, compare, features, mean_attention, upsample

ON_TIMM = dict(backbone="mobilenetv3_small_050", img_size=64, embed_dim=32)


def network(name: str, **arguments: Any) -> Any:
    """A fresh network whose gain is not the initial one."""
    model = qcs.create_model(name, **arguments).eval()
    for parameter_name, parameter in model.named_parameters():
        if parameter_name.endswith("theta"):
            torch.nn.init.constant_(parameter, 0.3)
    return model


def images(count: int, side: int = 48) -> Tensor:
    return torch.randn(count, 3, side, side)


@pytest.fixture(scope="module")
def compared() -> Comparison:
    torch.manual_seed(0)
    return compare(network("qcs_nano"), images(5))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("qcs_nano", {}),
        ("qcs_nano", {"matrices": "s"}),
        ("qcs_nano", {"matrices": "d", "residual": "identity"}),
        ("qcs_nano", {"scope": "sample", "backend": "reference"}),
        ("dcs_nano", {}),
        ("qcs_any", ON_TIMM),
        ("dcs_any", ON_TIMM),
    ],
)
def test_attention_is_what_the_network_returns(name: str, arguments: dict[str, Any]) -> None:
    model = network(name, **arguments)
    pictures = images(6, arguments.get("img_size", 48))
    chosen = [4, 0, 5, 2][: model.branches]
    with torch.no_grad():
        expected = model(*pictures[chosen].unsqueeze(1), return_attention=True).attention
    weights = compare(model, pictures).attention(*chosen)
    np.testing.assert_allclose(weights, expected.squeeze(2), atol=1e-6)


def test_scaled_dot_product_attention_of_an_image_is_the_mean_of_what_the_other_gives_it() -> None:
    model = network("dcs_nano", attention="sdpa")
    pictures = images(2)
    with torch.no_grad():
        map_a, map_p = model(*pictures.unsqueeze(1), return_attention=True).attention.squeeze(2).unbind(1)
    weights = compare(model, pictures).attention(0, 1)
    np.testing.assert_allclose(weights, torch.stack([map_p.mean(1), map_a.mean(1)], 1), atol=1e-6)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)


def test_importance_from_the_pairs_makes_the_attention() -> None:
    model = network("qcs_nano")
    compared = compare(model, images(4))
    a, p, n, n2 = range(4)
    for level, module in enumerate(model.cross_modules):
        gain = float(module.attention.gain.detach())
        (p_s, a_s), (n2_s, n_s) = compared.pair(p, a).importance(), compared.pair(n2, n).importance()
        n_d, a_d = compared.pair(n, a).importance("dissimilarity")
        n2_d, p_d = compared.pair(n2, p).importance("dissimilarity")
        logits = np.stack([a_s + gain * a_d, p_s + gain * p_d, n_s + gain * n_d, n2_s + gain * n2_d], axis=1)
        expected = torch.from_numpy(logits[level]).softmax(-1)
        np.testing.assert_allclose(compared.attention(a, p, n, n2)[level], expected, rtol=1e-5, atol=1e-6)


def test_matrices_have_the_first_image_in_rows(compared: Comparison) -> None:
    pair = compared.pair(1, 3)
    q, k = compared.query_keys[:, 1].double(), compared.query_keys[:, 3].double()
    level, row, column = 2, 7, 30
    one, other = q[level, row], k[level, column]
    assert pair.distance[level, row, column] == pytest.approx(float((one - other).norm()), rel=1e-5)
    assert pair.dot[level, row, column] == pytest.approx(float(one @ other) / 8, rel=1e-4)
    assert pair.cosine[level, row, column] == pytest.approx(float(one @ other / one.norm() / other.norm()), abs=1e-5)


def test_alignments_are_taken_within_a_level(compared: Comparison) -> None:
    pair = compared.pair(0, 1)
    np.testing.assert_array_equal(pair.similarity.min((1, 2)), 0)
    np.testing.assert_array_equal(pair.dissimilarity.min((1, 2)), 0)
    np.testing.assert_allclose(
        pair.similarity + pair.distance, np.broadcast_to(pair.distance.max((1, 2))[:, None, None], (3, 36, 36))
    )


def test_an_image_is_at_distance_nought_from_itself(compared: Comparison) -> None:
    pair = compared.pair(2, 2)
    np.testing.assert_array_equal(np.diagonal(pair.distance, axis1=1, axis2=2), 0)
    np.testing.assert_allclose(np.diagonal(pair.cosine, axis1=1, axis2=2), 1, atol=1e-6)


def test_a_heat_map_is_the_attention_of_one_comparison_on_the_grid(compared: Comparison) -> None:
    heat = compared.heat_map(4, 1, "dissimilarity")
    _, importance = compared.pair(1, 4).importance("dissimilarity")
    expected = torch.from_numpy(importance).softmax(-1)
    assert heat[1, 2, 5] == pytest.approx(36 * float(expected[1, 17]), rel=1e-5)
    np.testing.assert_allclose(heat.mean((1, 2)), 1, rtol=1e-5)


def test_the_heat_map_of_a_dual_network_is_its_attention() -> None:
    compared = compare(network("dcs_nano"), images(2))
    expected = 36 * compared.attention(0, 1)[:, 0]
    np.testing.assert_allclose(compared.heat_map(0, 1), compared.grid(expected), rtol=1e-4)


def test_mean_attention_is_the_mean_over_the_comparisons_there_are() -> None:
    compared = compare(network("dcs_nano"), images(4))
    mean = mean_attention(compared, [0, 1, 0, 1], [2, 1])  # one companion each: every comparison is the same
    np.testing.assert_allclose(mean[:, 0], compared.attention(2, 0)[:, 0], atol=1e-6)
    np.testing.assert_allclose(mean[:, 1], compared.attention(1, 3)[:, 0], atol=1e-6)


def test_mean_attention_of_quadruplets_compares_with_another_class() -> None:
    compared = compare(network("qcs_nano"), images(5))
    possible = [compared.attention(1, 0, n, n2)[:, 0] for n, n2 in ((2, 3), (3, 2))]  # 4 is alone in its class
    mean = mean_attention(compared, [0, 0, 1, 1, 2], [1], comparisons=64)[:, 0]
    np.testing.assert_allclose(mean.sum(-1), 1, atol=1e-5)
    low, high = np.minimum(*possible), np.maximum(*possible)
    assert (mean >= low - 1e-6).all() and (mean <= high + 1e-6).all()


def test_mean_attention_needs_companions() -> None:
    compared = compare(network("qcs_nano"), images(4))
    with pytest.raises(InputError, match=r"image 3 cannot be compared: .* and another class of two images"):
        mean_attention(compared, [0, 0, 1, 2], [3])
    with pytest.raises(InputError, match="image 0 cannot be compared"):
        mean_attention(compared, [0, 0, 1, 2], [0])


def test_features_are_what_the_base_classifier_reads() -> None:
    model, pictures = network("base_nano"), images(3)
    with torch.no_grad():
        logits = model(pictures)
    torch.testing.assert_close(model.base.head(torch.from_numpy(features(model, pictures))), logits)


def test_the_network_stays_in_its_mode() -> None:
    model = network("dcs_nano").train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    compare(model, images(2))
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(("name", "arguments"), [("base_nano", {}), ("base_any", ON_TIMM)])
def test_a_base_network_compares_nothing(name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"{name} is a base network .* give the weights of a qcs or dcs network"):
        compare(network(name, **arguments), images(2))


def test_a_trained_network_reduced_to_its_base_compares_nothing() -> None:
    with pytest.raises(InputError, match="without a cross part"):
        compare(network("qcs_nano").inference_model(), images(2))


def test_what_does_not_fit_is_named(compared: Comparison) -> None:
    with pytest.raises(InputError, match=r"compares 4 images \(anchor, positive, negative, negative2\), got 2"):
        compared.attention(0, 1)
    with pytest.raises(InputError, match="alignment must be one of similarity, dissimilarity; got 'distance'"):
        compared.heat_map(0, 1, "distance")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"expected images \(B, 3, H, W\)"):
        compare(network("qcs_nano"), torch.randn(3, 48, 48))
    with pytest.raises(InputError, match=r"maps have shape \(36,\): expected"):
        upsample(np.ones(36), (48, 48))


def test_upsampling_keeps_places_and_levels() -> None:
    maps = np.zeros((2, 6, 6))
    maps[1, 1, 4] = 1
    larger = upsample(maps, (96, 48))
    assert larger.shape == (2, 96, 48)
    assert not larger[0].any()
    row, column = np.unravel_index(larger[1].argmax(), larger[1].shape)
    assert (row // 16, column // 8) == (1, 4)
