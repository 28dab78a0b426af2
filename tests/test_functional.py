"""The operators against plain loops over Python floats, their gradients against finite differences, their refusals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from operator import mul
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from qcs import functional as QF
from qcs.errors import InputError

Matrix = Sequence[Sequence[float]]

SCOPES = ("batch", "sample")
MATRICES = ("s", "d", "sd")
ROLES = ("a", "p", "n", "n2")
COMPARISONS = (("p", "a", "s"), ("n2", "n", "s"), ("n", "a", "d"), ("n2", "p", "d"))  # rows, columns, alignment
LENGTHS = {"equal": (5, 5, 5, 5), "unequal": (3, 5, 4, 2), "one token": (1, 1, 1, 1), "one against many": (1, 4, 3, 1)}
each_scope = pytest.mark.parametrize("scope", SCOPES)
each_matrices = pytest.mark.parametrize("matrices", MATRICES)
each_lengths = pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)


def draw(lengths: Sequence[int] = (5, 5, 5, 5), batch: int = 3, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [torch.randn(batch, n, 4, dtype=dtype) for n in lengths]


def loop_distances(q: Tensor, k: Tensor) -> list[list[list[float]]]:
    return [[[math.dist(x, y) for y in ys] for x in xs] for xs, ys in zip(q.tolist(), k.tolist(), strict=True)]


def loop_weights(
    images: Sequence[Tensor], *, gain: float = 1.0, matrices: str = "s", scope: str = "batch"
) -> list[Tensor]:
    """Attention of two or four images, loop by loop as it is defined."""
    logits = {role: x.new_zeros(x.shape[:2]).tolist() for role, x in zip(ROLES, images, strict=False)}
    for rows, columns, alignment in COMPARISONS:
        if alignment not in matrices or not {rows, columns} <= logits.keys():
            continue
        weight = gain if alignment == "d" and matrices == "sd" else 1.0
        distances = loop_distances(images[ROLES.index(rows)], images[ROLES.index(columns)])
        for b, matrix in enumerate(distances):
            within = [x for m in (distances if scope == "batch" else [matrix]) for row in m for x in row]
            hi, lo = max(within), min(within)
            aligned = [[hi - x if alignment == "s" else x - lo for x in row] for row in matrix]
            for role, importance in ((columns, summed_units(aligned)), (rows, summed_units(transposed(aligned)))):
                logits[role][b] = [x + weight * y for x, y in zip(logits[role][b], importance, strict=True)]
    return [torch.tensor([softmax(x) for x in batch], dtype=torch.float64) for batch in logits.values()]


def summed_units(matrix: Matrix) -> list[float]:
    """Sum over the rows of a matrix, each divided by its length."""
    units = [[x / max(math.hypot(*row), 1e-12) for x in row] for row in matrix]
    return [sum(column) for column in transposed(units)]


def transposed(matrix: Matrix) -> Matrix:
    return list(zip(*matrix, strict=True))


def softmax(logits: Sequence[float]) -> list[float]:
    exponentials = [math.exp(x) for x in logits]
    return [x / sum(exponentials) for x in exponentials]


# ---------------------------------------------------------------------------------------------------------- values


def loop_exemplar_weights(x: Tensor, exemplars: Tensor, own: Tensor, scope: str) -> Tensor:
    """Attention from exemplars, loop by loop as it is defined."""
    compared = [[k for k in range(len(exemplars)) if not own[b, k]] for b in range(len(x))]
    distances = [loop_distances(exemplars, image.expand(len(exemplars), -1, -1)) for image in x]
    over_all = [v for b, ks in enumerate(compared) for k in ks for row in distances[b][k] for v in row]
    weights = []
    for b, ks in enumerate(compared):
        total = [0.0] * x.shape[1]
        for k in ks:
            hi = max(over_all if scope == "batch" else [v for row in distances[b][k] for v in row])
            units = summed_units([[hi - v for v in row] for row in distances[b][k]])
            total = [t + u / len(ks) for t, u in zip(total, units, strict=True)]
        weights.append(softmax(total))
    return torch.tensor(weights, dtype=torch.float64)


@each_scope
@pytest.mark.parametrize("backend", ["reference", "analytic"])
@pytest.mark.parametrize("masked", [False, True])
def test_weights_from_exemplars_equal_plain_loops(scope: Any, backend: Any, masked: bool) -> None:
    x = torch.randn(5, 4, 3, dtype=torch.float64)
    exemplars = x[:2] if masked else torch.randn(2, 6, 3, dtype=torch.float64)
    own = torch.eye(5, 2, dtype=torch.bool) if masked else torch.zeros(5, 2, dtype=torch.bool)
    expected = loop_exemplar_weights(x, exemplars, own, scope)
    assert_close(QF.exemplar_similarity(x, exemplars, own, scope=scope, backend=backend), expected)
    if not masked:
        assert_close(QF.exemplar_similarity(x, exemplars, scope=scope, backend=backend), expected)


@each_scope
def test_one_exemplar_is_the_positive_of_all_images(scope: Any) -> None:
    x, exemplar = torch.randn(5, 4, 3, dtype=torch.float64), torch.randn(1, 6, 3, dtype=torch.float64)
    anchors, _ = QF.cross_similarity(x, exemplar.expand(5, -1, -1), scope=scope)
    assert_close(QF.exemplar_similarity(x, exemplar, scope=scope), anchors)


@each_scope
def test_what_an_image_is_not_compared_with_changes_nothing(scope: Any) -> None:
    x, exemplars = torch.randn(3, 4, 3, dtype=torch.float64), torch.randn(2, 4, 3, dtype=torch.float64)
    own = torch.tensor([[False, True]] * 3)
    far = torch.stack([exemplars[0], 100 * exemplars[1]])  # its distances would be the largest
    expected = QF.exemplar_similarity(x, exemplars[:1], scope=scope)
    assert_close(QF.exemplar_similarity(x, far, own, scope=scope), expected)


@each_scope
def test_without_any_comparison_the_weights_are_uniform(scope: Any) -> None:
    x = torch.randn(3, 4, 3, dtype=torch.float64, requires_grad=True)
    weights = QF.exemplar_similarity(x, x[:1], torch.ones(3, 1, dtype=torch.bool), scope=scope)
    assert_close(weights, torch.full_like(weights, 1 / 4))
    weights.square().sum().backward()
    assert x.grad is not None and bool(torch.isfinite(x.grad).all())


def test_distances_equal_plain_loops() -> None:
    q, k = draw((3, 5))
    assert_close(QF.euclidean_distance(q, k), torch.tensor(loop_distances(q, k), dtype=torch.float64))


@each_scope
@each_lengths
def test_dual_weights_equal_plain_loops(lengths: tuple[int, ...], scope: Any) -> None:
    images = draw(lengths[:2])
    assert_close(list(QF.cross_similarity(*images, scope=scope)), loop_weights(images, scope=scope))


@each_scope
@each_matrices
@each_lengths
def test_quadruplet_weights_equal_plain_loops(lengths: tuple[int, ...], matrices: Any, scope: Any) -> None:
    images = draw(lengths)
    weights = QF.quadruplet_cross_similarity(*images, gain=0.7, matrices=matrices, scope=scope)
    assert_close(list(weights), loop_weights(images, gain=0.7, matrices=matrices, scope=scope))


def test_published_scope_and_matrices_are_the_default() -> None:
    images = draw()
    assert_close(list(QF.cross_similarity(*images[:2])), loop_weights(images[:2], scope="batch"))
    assert_close(
        list(QF.quadruplet_cross_similarity(*images)), loop_weights(images, gain=1.0, matrices="sd", scope="batch")
    )


def test_dot_product_maps_equal_plain_loops() -> None:
    a, p = draw((3, 5), batch=1)
    scores = [[sum(map(mul, q, k)) / math.sqrt(4) for k in a[0].tolist()] for q in p[0].tolist()]
    map_a, map_p = QF.scaled_dot_product_maps(a, p)
    assert_close(map_p[0], torch.tensor([softmax(row) for row in scores], dtype=torch.float64))
    assert_close(map_a[0], torch.tensor([softmax(column) for column in transposed(scores)], dtype=torch.float64))


def test_bilinear_pooling_equals_plain_loops_and_has_length_100() -> None:
    x, y = draw((5, 5), batch=1)
    means = [sum(map(mul, i, j)) / 5 for i in x[0].T.tolist() for j in y[0].T.tolist()]
    rooted = [math.copysign(math.sqrt(abs(m) + 1e-5), m) for m in means]
    expected = torch.tensor([[100 * r / math.hypot(*rooted) for r in rooted]], dtype=torch.float64)
    assert_close(QF.bilinear_pooling(x, y), expected)


# ------------------------------------------------------------------------------------------------------ properties


@pytest.mark.parametrize("order", [(1, 0, 3, 2), (2, 3, 0, 1), (3, 2, 1, 0)], ids=str)
@each_scope
def test_quadruplet_is_symmetric_in_its_images_and_its_classes(scope: Any, order: tuple[int, ...]) -> None:
    images = draw()
    weights = QF.quadruplet_cross_similarity(*images, gain=0.7, scope=scope)
    swapped = QF.quadruplet_cross_similarity(*[images[i] for i in order], gain=0.7, scope=scope)
    assert_close(swapped, tuple(weights[i] for i in order))


@each_scope
def test_dual_is_symmetric_in_its_images(scope: Any) -> None:
    a, p = draw((3, 5))
    assert_close(QF.cross_similarity(p, a, scope=scope), QF.cross_similarity(a, p, scope=scope)[::-1])


def test_weights_move_with_the_tokens_of_their_image_and_ignore_the_order_elsewhere() -> None:
    images = draw()
    orders = [torch.randperm(5) for _ in images]
    weights = QF.quadruplet_cross_similarity(*images)
    permuted = QF.quadruplet_cross_similarity(*[x[:, order] for x, order in zip(images, orders, strict=True)])
    assert_close(permuted, tuple(w[:, order] for w, order in zip(weights, orders, strict=True)))


@each_scope
def test_other_images_matter_in_batch_scope_only(scope: Any) -> None:
    images = draw()
    alone = QF.quadruplet_cross_similarity(*[x[:1] for x in images], scope=scope)
    among = QF.quadruplet_cross_similarity(*images, scope=scope)
    assert all(torch.allclose(x, y[:1]) == (scope == "sample") for x, y in zip(alone, among, strict=True))


@each_matrices
def test_gain_counts_with_both_matrices_only(matrices: Any) -> None:
    images = draw()
    gain = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    weights = torch.cat(QF.quadruplet_cross_similarity(*images, gain, matrices=matrices))
    unscaled = torch.cat(QF.quadruplet_cross_similarity(*images, matrices=matrices))
    assert torch.equal(weights, unscaled) == (matrices != "sd")
    assert weights.requires_grad == (matrices == "sd")


def test_gain_zero_leaves_similarity_alone() -> None:
    images = draw()
    assert_close(
        QF.quadruplet_cross_similarity(*images, gain=0.0), QF.quadruplet_cross_similarity(*images, matrices="s")
    )


# ------------------------------------------------------------------------------------------------------- gradients


@each_scope
def test_dual_gradients_equal_finite_differences(scope: Any) -> None:
    images = [x.requires_grad_() for x in draw((3, 4), batch=2)]
    assert torch.autograd.gradcheck(lambda *x: QF.cross_similarity(*x, scope=scope), images)


@each_scope
@each_matrices
def test_quadruplet_gradients_equal_finite_differences(matrices: Any, scope: Any) -> None:
    images = [x.requires_grad_() for x in draw((3, 4, 2, 3), batch=2)]
    gain = torch.tensor(0.7, dtype=torch.float64, requires_grad=matrices == "sd")
    assert torch.autograd.gradcheck(
        lambda gain, *x: QF.quadruplet_cross_similarity(*x, gain, matrices=matrices, scope=scope), (gain, *images)
    )


@pytest.mark.parametrize("operator", [QF.euclidean_distance, QF.scaled_dot_product_maps, QF.bilinear_pooling])
def test_gradients_of_the_other_operators_equal_finite_differences(operator: Callable[..., Any]) -> None:
    assert torch.autograd.gradcheck(operator, [x.requires_grad_() for x in draw((3, 3), batch=2)])


def test_distance_zero_has_gradient_zero() -> None:
    q, k = torch.ones(2, 1, 4, requires_grad=True), torch.ones(2, 1, 4, requires_grad=True)
    for gradient in torch.autograd.grad(QF.euclidean_distance(q, k).sum(), (q, k)):
        assert_close(gradient, torch.zeros(2, 1, 4), rtol=0, atol=0)


@each_scope
@each_matrices
def test_comparing_an_image_with_itself_keeps_gradients_finite(matrices: Any, scope: Any) -> None:
    images = [torch.ones(2, 5, 4).cumsum(1).requires_grad_() for _ in ROLES]
    weights = QF.quadruplet_cross_similarity(*images, matrices=matrices, scope=scope)
    assert_close(weights, (weights[0],) * 4)
    for gradient in torch.autograd.grad(weights, images, [torch.randn(2, 5) for _ in ROLES]):
        assert gradient.isfinite().all()


@each_scope
def test_images_without_any_contrast_get_uniform_weights_and_no_gradient(scope: Any) -> None:
    images = [torch.ones(2, 5, 4, requires_grad=True) for _ in ROLES]
    weights = QF.quadruplet_cross_similarity(*images, scope=scope)
    assert_close(weights, (torch.full((2, 5), 0.2),) * 4)
    for gradient in torch.autograd.grad(weights, images, [torch.randn(2, 5) for _ in ROLES]):
        assert_close(gradient, torch.zeros(2, 5, 4), rtol=0, atol=0)


@each_scope
def test_a_single_token_has_weight_one_and_no_gradient(scope: Any) -> None:
    images = [x.requires_grad_() for x in draw((1, 1, 1, 1))]
    weights = QF.quadruplet_cross_similarity(*images, scope=scope)
    for weight, gradient in zip(weights, torch.autograd.grad(sum(weights).sum(), images), strict=True):
        assert_close(weight, torch.ones(3, 1, dtype=torch.float64))
        assert_close(gradient, torch.zeros(3, 1, 4, dtype=torch.float64), rtol=0, atol=0)


@each_scope
def test_nan_comes_out_where_nan_went_in(scope: Any) -> None:
    images = draw()
    images[0][0, 2, 1] = math.nan
    weights = QF.quadruplet_cross_similarity(*images, scope=scope)
    for weight, reached in zip(weights, (True, True, True, False), strict=True):  # n2 is never compared with a
        assert weight[0].isnan().all() == reached
        assert weight[1:].isnan().all() == (reached and scope == "batch")


# ---------------------------------------------------------------------------------------------------------- dtypes


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_weights_keep_their_dtype_and_sum_to_one(dtype: torch.dtype) -> None:
    images = draw(dtype=dtype)
    tolerance = 4 * torch.finfo(dtype).eps
    for weight, expected in zip(
        QF.quadruplet_cross_similarity(*images), loop_weights(images, matrices="sd"), strict=True
    ):
        assert weight.dtype == dtype
        assert_close(weight.double(), expected, rtol=tolerance, atol=tolerance)
        assert_close(weight.double().sum(-1), torch.ones(3, dtype=torch.float64), rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(torch.float64, torch.float64), (torch.float32, torch.float32), (torch.bfloat16, torch.float32)],
    ids=str,
)
def test_distances_have_at_least_float32_precision(dtype: torch.dtype, expected: torch.dtype) -> None:
    q, k = draw((3, 5), dtype=dtype)
    distance = QF.euclidean_distance(q, k)
    assert distance.dtype == expected
    assert_close(distance.double(), QF.euclidean_distance(q.double(), k.double()), rtol=1e-5, atol=0)


def test_autocast_changes_neither_weights_nor_pooling() -> None:
    images = draw(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        dual, quadruplet = QF.cross_similarity(*images[:2]), QF.quadruplet_cross_similarity(*images)
        pooled = QF.bilinear_pooling(*images[:2])
    assert_close(pooled, QF.bilinear_pooling(*images[:2]))
    assert_close(dual, QF.cross_similarity(*images[:2]))
    assert_close(quadruplet, QF.quadruplet_cross_similarity(*images))


# -------------------------------------------------------------------------------------------------------- refusals

OPERATORS: dict[Callable[..., Any], tuple[str, ...]] = {
    QF.euclidean_distance: ("q", "k"),
    QF.cross_similarity: ("qk_a", "qk_p"),
    QF.quadruplet_cross_similarity: ("qk_a", "qk_p", "qk_n", "qk_n2"),
    QF.scaled_dot_product_maps: ("qk_a", "qk_p"),
    QF.bilinear_pooling: ("x", "y"),
}
BAD_TOKENS = {
    "list": ([[[0.0]]], "must be a tensor.*got list"),
    "two dimensions": (torch.zeros(5, 4), r"must have shape \(B, N, C\).*\(5, 4\)"),
    "no tokens": (torch.zeros(2, 0, 4), r"must have shape .* with no empty dimension.*\(2, 0, 4\)"),
    "integers": (torch.zeros(2, 5, 4, dtype=torch.int64), "must have a floating-point dtype, got torch.int64"),
    "batch": (torch.zeros(3, 5, 4), r"must agree in batch size and channels.*\(3, 5, 4\)"),
    "channels": (torch.zeros(2, 5, 6), r"must agree in batch size and channels.*\(2, 5, 6\)"),
    "dtype": (torch.zeros(2, 5, 4, dtype=torch.float64), "must have one dtype and device.*torch.float64"),
    "device": (torch.zeros(2, 5, 4, device="meta"), "must have one dtype and device.*meta"),
}


@pytest.mark.parametrize(("operator", "names"), OPERATORS.items(), ids=[f.__name__ for f in OPERATORS])
@pytest.mark.parametrize(("bad", "message"), BAD_TOKENS.values(), ids=BAD_TOKENS)
def test_bad_tokens_are_refused_by_name(
    operator: Callable[..., Any], names: tuple[str, ...], bad: Any, message: str
) -> None:
    good = [torch.zeros(2, 5, 4) for _ in names[1:]]
    with pytest.raises(InputError, match=rf"\b{names[-1]} {message}"):
        operator(*good, bad)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scope": "image"}, "scope must be one of batch, sample, world; got 'image'"),
        ({"matrices": "ds"}, "matrices must be one of s, d, sd; got 'ds'"),
        ({"gain": torch.ones(1)}, r"gain must be a number or a 0-d tensor, got shape \(1,\)"),
        (
            {"backend": "cuda"},
            "unknown backend 'cuda'; expected None or one of 'reference', 'analytic', 'compiled', 'triton'",
        ),
        ({"backend": "triton"}, "backend 'triton' cannot run: it .* not torch.float64; use backend=None, 'analytic'"),
    ],
    ids=str,
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        QF.quadruplet_cross_similarity(*draw(), **options)
    if not options.keys() & {"matrices", "gain"}:
        with pytest.raises(InputError, match=message):
            QF.cross_similarity(*draw((3, 5)), **options)
    if "backend" in options:
        with pytest.raises(InputError, match=message):
            QF.euclidean_distance(*draw((3, 5)), **options)
        with pytest.raises(InputError, match=message):
            QF.bilinear_pooling(*draw((5, 5)), **options)


def test_bilinear_pooling_refuses_maps_of_different_length() -> None:
    with pytest.raises(InputError, match="x and y must have the same number of tokens, got 3 and 5"):
        QF.bilinear_pooling(*draw((3, 5)))


# --------------------------------------------------------------------------------------------------------- padding


def padded_images(lengths: Sequence[int]) -> tuple[list[Tensor], list[Tensor]]:
    """Images whose padding is NaN, and masks that pad half of the tokens at the same places in every sample."""
    images, masks = draw(lengths), [torch.arange(n).expand(3, n) % 2 == 1 for n in lengths]
    return [x.masked_fill(mask.unsqueeze(2), math.nan) for x, mask in zip(images, masks, strict=True)], masks


@each_scope
@pytest.mark.parametrize("backend", ["reference", "analytic"])
@each_lengths
def test_padding_of_any_value_gives_what_remains_without_it(lengths: tuple[int, ...], backend: Any, scope: Any) -> None:
    images, masks = padded_images(lengths)
    leaves = [x.requires_grad_() for x in images]
    options: dict[str, Any] = {"scope": scope, "backend": backend}
    found = QF.quadruplet_cross_similarity(*leaves, 0.7, key_padding_mask=masks, **options)
    short = [x[:, ::2].detach().requires_grad_() for x in images]
    expected = QF.quadruplet_cross_similarity(*short, 0.7, **options)
    for weights, wanted in zip(found, expected, strict=True):
        assert_close(weights[:, ::2], wanted)
        assert not weights[:, 1::2].any()
    upstream = [torch.randn_like(w) for w in found]
    gradients = torch.autograd.grad(found, leaves, upstream)
    wanted_gradients = torch.autograd.grad(expected, short, [u[:, ::2] for u in upstream])
    for gradient, wanted in zip(gradients, wanted_gradients, strict=True):
        assert_close(gradient[:, ::2], wanted)
        assert not gradient[:, 1::2].any()


@pytest.mark.parametrize("backend", ["reference", "analytic"])
def test_images_may_be_padding_from_end_to_end(backend: Any) -> None:
    images = [x.requires_grad_() for x in draw()]
    mask = torch.zeros(3, 5, dtype=torch.bool)
    mask[1] = True
    w_a, w_p = QF.cross_similarity(*images[:2], key_padding_mask=(mask, None), backend=backend)
    assert not w_a[1].any() and bool((w_a[0] > 0).all())
    assert_close(w_p[1], torch.full_like(w_p[1], 1 / 5))  # compared with nothing
    assert all(bool(g.isfinite().all()) for g in torch.autograd.grad((w_a.square() + w_p.square()).sum(), images[:2]))


@pytest.mark.parametrize("backend", ["reference", "analytic"])
def test_logits_and_weights_in_the_dtype_that_is_asked_for(backend: Any) -> None:
    images, mask = draw(dtype=torch.bfloat16), torch.zeros(3, 5, dtype=torch.bool)
    mask[:, 2] = True
    options: dict[str, Any] = {"key_padding_mask": (mask, None, None, None), "backend": backend}
    precise = QF.quadruplet_cross_similarity(*images, dtype=torch.float32, **options)
    logits = QF.quadruplet_cross_similarity(*images, logits=True, **options)
    for weights, of_logits, rounded in zip(
        precise, logits, QF.quadruplet_cross_similarity(*images, **options), strict=True
    ):
        assert (weights.dtype, of_logits.dtype, rounded.dtype) == (torch.float32, torch.float32, torch.bfloat16)
        assert_close(of_logits.softmax(-1), weights)
        assert_close(rounded, weights.bfloat16())
    assert bool((logits[0][:, 2] == -math.inf).all())
    assert QF.cross_similarity(*images[:2], logits=True, dtype=torch.float64)[0].dtype == torch.float64


@each_scope
def test_padding_of_exemplars_and_of_images_they_are_compared_with(scope: Any) -> None:
    (x, exemplars), (mask, exemplar_mask) = padded_images((5, 4))
    found = QF.exemplar_similarity(x, exemplars[:2], scope=scope, key_padding_mask=(mask, exemplar_mask[:2]))
    assert_close(found[:, ::2], QF.exemplar_similarity(x[:, ::2], exemplars[:2, ::2], scope=scope))
    assert not found[:, 1::2].any()


def test_padding_takes_no_part_in_dot_product_attention() -> None:
    (a, p), masks = padded_images((5, 4))
    map_a, map_p = QF.scaled_dot_product_maps(a, p, key_padding_mask=masks)
    wanted_a, wanted_p = QF.scaled_dot_product_maps(a[:, ::2], p[:, ::2])
    assert_close((map_a[:, ::2, ::2], map_p[:, ::2, ::2]), (wanted_a, wanted_p))
    assert not map_a[:, :, 1::2].any() and not map_p[:, :, 1::2].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key_padding_mask": torch.zeros(3, 5) > 0}, "a mask or None for each of 2 images, got one tensor"),
        ({"key_padding_mask": (None,)}, "a mask or None for each of 2 images, got 1"),
        ({"key_padding_mask": (None, torch.zeros(3, 5))}, r"key_padding_mask\[1\] must be a mask \(3, 5\) of booleans"),
        ({"key_padding_mask": (None, torch.zeros(3, 4) > 0)}, r"got torch.bool of shape \(3, 4\) on cpu"),
        ({"dtype": torch.int64}, "dtype must be a floating-point dtype, got torch.int64"),
    ],
)
def test_masks_and_dtypes_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        QF.cross_similarity(*draw()[:2], **options)
