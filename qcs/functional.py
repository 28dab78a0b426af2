"""Stateless functions of Quadruplet Cross Similarity, with PyTorch-style signatures.

Tokens are `(B, N, C)`: batch, spatial positions, channels. Attention weights are `(B, N)` probabilities over an image's
own positions. Letters: a anchor, p positive (same class), n negative (another class), n2 another image of n's class.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from qcs import ops
from qcs.errors import InputError, check_choice
from qcs.ops import reference
from qcs.ops.output import Output, without_padding

__all__ = [
    "Backend",
    "LocalScope",
    "Masks",
    "Matrices",
    "Scope",
    "bilinear_pooling",
    "cross_similarity",
    "distance_attention",
    "euclidean_distance",
    "exemplar_similarity",
    "quadruplet_cross_similarity",
    "scaled_dot_product_maps",
]

Scope = Literal["batch", "sample", "world"]
"""Where extremal distances are taken: over the whole batch, as published, within each sample, or over all processes."""

LocalScope = Literal["batch", "sample"]
"""Where extremal distances are taken, within one process."""

Matrices = Literal["s", "d", "sd"]
"""Matrices of a quadruplet: similarity, dissimilarity, or both."""

Backend = Literal["reference", "analytic", "triton"]
"""Implementation of an operator: the definition, its closed form in PyTorch, or its closed form as GPU kernels."""

Masks: TypeAlias = Sequence[Tensor | None]
"""One padding mask (B, N) per image, true where a token is padding, or None for an image without any."""

SCOPES: tuple[Scope, ...] = get_args(Scope)
"""Every `Scope`."""

_MATRICES: tuple[str, ...] = get_args(Matrices)


def euclidean_distance(q: Tensor, k: Tensor, *, backend: Backend | None = None) -> Tensor:
    """Return Euclidean distances between the tokens of two images (arXiv 2411.01988, Eq. 1).

    Args:
        q: Row tokens (B, Nq, C).
        k: Column tokens (B, Nk, C).
        backend: Implementation; None chooses.

    Returns:
        Distances (B, Nq, Nk), not squared, at least 0; float32 for half-precision tokens, else in the dtype of the
        tokens. The gradient at distance 0 is 0.

    Raises:
        InputError: If shapes, dtypes or devices do not match, or the backend cannot run.

    Example:
        >>> import torch
        >>> from qcs import functional as QF
        >>> QF.euclidean_distance(torch.zeros(1, 2, 4), torch.ones(1, 3, 4))
        tensor([[[2., 2., 2.],
                 [2., 2., 2.]]])
    """
    check_tokens(q=q, k=k)
    distances: Tensor = ops.choose(backend, q).euclidean_distance(q, k)
    return distances


def cross_similarity(
    qk_a: Tensor,
    qk_p: Tensor,
    *,
    scope: Scope = "batch",
    key_padding_mask: Masks | None = None,
    logits: bool = False,
    dtype: torch.dtype | None = None,
    memory_budget: int | None = None,
    backend: Backend | None = None,
) -> tuple[Tensor, Tensor]:
    """Return attention weights of two images of one class, from the similarity of their tokens (paper Eq. 2-6).

    The similarity matrix is the largest distance minus the distances, rows p and columns a. The sum of normalized rows
    is the importance of each column (a), the sum of normalized columns that of each row (p); softmax turns importance
    into weights.

    Args:
        qk_a: Projected tokens of the anchor (B, Na, C).
        qk_p: Projected tokens of the positive (B, Np, C).
        scope: Where the largest distance is taken: over the whole `"batch"`, as published, so that an image's weights
            depend on the other images of the batch, within each `"sample"`, or over the batches of all processes
            together, the `"world"`.
        key_padding_mask: A mask (B, N) per image, in the order of the images, true where a token is padding, or None
            for an image without padding. The result is the one without these tokens: they have weight 0, logit -inf and
            no gradient. An image that is all padding has weights 0.
        logits: Return logits (B, N) instead of weights; the weights are their softmax.
        dtype: Of the result; None for that of the tokens, for logits float32 or better.
        memory_budget: Bytes of distances that may be kept for the backward pass, see `qcs.ops.memory_budget`; None for
            the budget of the context, which by default follows the free memory.
        backend: Implementation; None chooses.

    Returns:
        Weights of the anchor (B, Na) and of the positive (B, Np); each row sums to 1.

    Raises:
        InputError: If shapes, dtypes or devices do not match, an option is unknown, or the backend cannot run.

    Example:
        >>> import torch
        >>> from qcs import functional as QF
        >>> w_a, w_p = QF.cross_similarity(torch.randn(2, 49, 8), torch.randn(2, 49, 8))
        >>> w_a.shape, bool(torch.allclose(w_a.sum(-1), torch.ones(2)))
        (torch.Size([2, 49]), True)
    """
    check_tokens(qk_a=qk_a, qk_p=qk_p)
    check_choice("scope", scope, SCOPES)
    images, output = _prepared((qk_a, qk_p), key_padding_mask, logits, dtype)
    chosen = ops.choose(backend, qk_a, output, scope)
    with _budget(memory_budget):
        weights: tuple[Tensor, Tensor] = chosen.cross_similarity(*images, scope, output)
    return weights


def quadruplet_cross_similarity(
    qk_a: Tensor,
    qk_p: Tensor,
    qk_n: Tensor,
    qk_n2: Tensor,
    gain: Tensor | float = 1.0,
    *,
    matrices: Matrices = "sd",
    scope: Scope = "batch",
    key_padding_mask: Masks | None = None,
    logits: bool = False,
    dtype: torch.dtype | None = None,
    memory_budget: int | None = None,
    backend: Backend | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return attention weights of four images: similar within a class, dissimilar across classes (paper Eq. 7-9).

    Similarity (a with p, n with n2) finds what the images of a class share; dissimilarity (a with n, p with n2) finds
    what distinguishes the classes. Each image adds the importance from its two matrices: S + gain * D'.

    Args:
        qk_a: Projected tokens of the anchor (B, Na, C).
        qk_p: Projected tokens of the positive (B, Np, C).
        qk_n: Projected tokens of the negative (B, Nn, C).
        qk_n2: Projected tokens of the second negative (B, Nn2, C).
        gain: Weight g of the dissimilarity importance, a number or a 0-d tensor; used with `matrices="sd"` only.
        matrices: `"sd"`, or for ablations `"s"` (similarity only) or `"d"` (dissimilarity only, weight 1).
        scope: Where largest and smallest distances are taken, `"batch"` (as published), `"sample"` or `"world"`.
        key_padding_mask: A mask (B, N) per image, in the order of the images, true where a token is padding, or None
            for an image without padding. The result is the one without these tokens: they have weight 0, logit -inf and
            no gradient. An image that is all padding has weights 0.
        logits: Return logits (B, N) instead of weights; the weights are their softmax.
        dtype: Of the result; None for that of the tokens, for logits float32 or better.
        memory_budget: Bytes of distances that may be kept for the backward pass, see `qcs.ops.memory_budget`; None for
            the budget of the context, which by default follows the free memory.
        backend: Implementation; None chooses.

    Returns:
        Weights (B, N) of a, p, n and n2, each with its own N; each row sums to 1.

    Raises:
        InputError: If shapes, dtypes or devices do not match, an option is unknown, or the backend cannot run.

    Example:
        >>> import torch
        >>> from qcs import functional as QF
        >>> weights = QF.quadruplet_cross_similarity(*torch.randn(4, 2, 49, 8), gain=1.0)
        >>> [tuple(w.shape) for w in weights]
        [(2, 49), (2, 49), (2, 49), (2, 49)]
    """
    check_tokens(qk_a=qk_a, qk_p=qk_p, qk_n=qk_n, qk_n2=qk_n2)
    check_choice("matrices", matrices, _MATRICES)
    check_choice("scope", scope, SCOPES)
    if isinstance(gain, Tensor) and gain.ndim != 0:
        raise InputError(f"gain must be a number or a 0-d tensor, got shape {tuple(gain.shape)}")
    images, output = _prepared((qk_a, qk_p, qk_n, qk_n2), key_padding_mask, logits, dtype)
    chosen = ops.choose(backend, qk_a, output, scope)
    with _budget(memory_budget):
        weights: tuple[Tensor, Tensor, Tensor, Tensor] = chosen.quadruplet_cross_similarity(
            *images, gain, matrices, scope, output
        )
    return weights


def exemplar_similarity(
    qk: Tensor,
    exemplars: Tensor,
    own: Tensor | None = None,
    *,
    scope: LocalScope = "batch",
    key_padding_mask: Masks | None = None,
    logits: bool = False,
    dtype: torch.dtype | None = None,
    backend: Backend | None = None,
) -> Tensor:
    """Return attention weights of images from the similarity of their tokens to those of K exemplars.

    A form of this library, not of the paper. Every image is compared with the same exemplars, one of each class, which
    say nothing of the label of an image. The similarity is that of `cross_similarity`, with an exemplar in
    place of the positive; the importance of a position is the mean over exemplars. With one exemplar, the weights are
    those that `cross_similarity` gives the anchor.

    Args:
        qk: Projected tokens of the images (B, N, C).
        exemplars: Projected tokens of the exemplars (K, M, C).
        own: Comparisons to leave out (B, K), true where an exemplar is the image itself; None for no such exemplar.
        scope: Where the largest distance is taken: over all comparisons of the `"batch"`, or within each comparison of
            one image with one exemplar (`"sample"`), so that the weights do not depend on the other images.
        key_padding_mask: Masks of the images (B, N) and of the exemplars (K, M), true where a token is padding, either
            of them None if there is no padding.
        logits: Return logits (B, N) instead of weights; the weights are their softmax.
        dtype: Of the result; None for that of the tokens, for logits float32 or better.
        backend: Implementation of the distances; None chooses.

    Returns:
        Weights (B, N); each row sums to 1. They are uniform for an image whose comparisons are all left out.

    Raises:
        InputError: If shapes, dtypes or devices do not match, an option is unknown, or the backend cannot run.

    Example:
        >>> import torch
        >>> from qcs import functional as QF
        >>> qk = torch.randn(6, 49, 8)
        >>> own = torch.eye(6, 2, dtype=torch.bool)  # the exemplars are the first two images
        >>> QF.exemplar_similarity(qk, qk[:2], own).shape
        torch.Size([6, 49])
    """
    check_exemplars(qk, exemplars, own)
    check_choice("scope", scope, get_args(LocalScope))
    (qk, exemplars), output = _prepared((qk, exemplars), key_padding_mask, logits, dtype)
    mask, exemplar_mask, *_ = output.masks
    chosen = ops.choose(backend, qk)
    # One matrix of all tokens: the expanded tokens of all B * K comparisons are never formed.
    distance: Tensor = chosen.euclidean_distance(exemplars.flatten(0, 1)[None], qk.flatten(0, 1)[None])
    by_pair = distance.view(*exemplars.shape[:2], *qk.shape[:2]).permute(2, 0, 1, 3)
    importance = reference.exemplar_importance(by_pair, own, scope, mask, exemplar_mask)
    return output.of([importance], [qk])[0]


def scaled_dot_product_maps(
    qk_a: Tensor, qk_p: Tensor, *, key_padding_mask: Masks | None = None
) -> tuple[Tensor, Tensor]:
    """Return scaled-dot-product cross attention of two images, the paper's ablation of cross similarity.

    Args:
        qk_a: Projected tokens of the anchor (B, Na, C).
        qk_p: Projected tokens of the positive (B, Np, C).
        key_padding_mask: A mask (B, N) for each of the two images, true where a token is padding, or None for an image
            without padding. No token takes anything from padding.

    Returns:
        Map (B, Na, Np) from the values of p to the anchor, and map (B, Np, Na) from the values of a to the positive;
        each row sums to 1, to 0 where the other image is all padding.

    Raises:
        InputError: If shapes, dtypes or devices do not match.

    Example:
        >>> import torch
        >>> from qcs import functional as QF
        >>> map_a, map_p = QF.scaled_dot_product_maps(torch.randn(2, 4, 8), torch.randn(2, 5, 8))
        >>> map_a.shape, map_p.shape
        (torch.Size([2, 4, 5]), torch.Size([2, 5, 4]))
    """
    check_tokens(qk_a=qk_a, qk_p=qk_p)
    (qk_a, qk_p), output = _prepared((qk_a, qk_p), key_padding_mask, False, None)
    mask_a, mask_p, *_ = output.masks
    scores = qk_p @ qk_a.mT * qk_a.shape[-1] ** -0.5
    return _map(scores.mT, mask_p), _map(scores, mask_a)


def distance_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    temperature: Tensor | float | None = None,
    key_padding_mask: Tensor | None = None,
    backend: Backend | None = None,
) -> Tensor:
    """Return attention by squared Euclidean distances: the softmax of -|q - k|² / temperature over k, times v.

    Unlike dot products, distances do not grow without bound with the tokens where q and k agree: with one projection
    for q and k the attention is Lipschitz (Kim, Papamakarios and Mnih, ICML 2021), see `qcs.layers.DistanceAttention`.
    Not a part of the paper; it uses the distance operator of this library, which is exact for close tokens.

    Args:
        q: Queries (B, Nq, C).
        k: Keys (B, Nk, C).
        v: Values (B, Nk, Cv).
        temperature: Positive number or 0-d tensor that divides squared distances; None for the square root of C.
        key_padding_mask: Mask (B, Nk), true where a key is padding; None for none.
        backend: Implementation of the distances; None chooses.

    Returns:
        Attended values (B, Nq, Cv) in the dtype of v; 0 where all keys are padding.

    Raises:
        InputError: If shapes, dtypes or devices do not match, or the backend cannot run.

    Example:
        >>> import torch
        >>> from qcs import functional as QF
        >>> q, k, v = torch.randn(3, 2, 49, 8).unbind()
        >>> QF.distance_attention(q, k, v).shape
        torch.Size([2, 49, 8])
    """
    check_tokens(q=q, k=k)
    check_tokens(v=v)
    if v.shape[:2] != k.shape[:2] or v.dtype != k.dtype or v.device != k.device:
        raise InputError(
            f"k and v must agree in batch size, tokens, dtype and device, "
            f"got {tuple(k.shape)} {k.dtype} on {k.device} and {tuple(v.shape)} {v.dtype} on {v.device}"
        )
    if not isinstance(temperature, Tensor) and temperature is not None and not temperature > 0:
        raise InputError(f"temperature must be positive, got {temperature}")
    (_, k), _ = _prepared((q, k), (None, key_padding_mask), False, None)
    if key_padding_mask is not None:
        v = v.masked_fill(key_padding_mask.unsqueeze(2), 0)
    distances: Tensor = ops.choose(backend, q).euclidean_distance(q, k)
    logits = -distances.square() / (q.shape[-1] ** 0.5 if temperature is None else temperature)
    weights = _map(logits, key_padding_mask)
    return (weights @ v.to(weights.dtype)).to(v.dtype)


def bilinear_pooling(x: Tensor, y: Tensor, *, backend: Backend | None = None) -> Tensor:
    """Return the bilinear pooling of two token maps, the connection "BP" of the paper's Table 1.

    XᵀY / N, then the signed square root (of |x| + 1e-5, so that the gradient at 0 is finite), then scaling to L2
    norm 100.

    Args:
        x: Tokens (B, N, C).
        y: Tokens (B, N, C) at the same positions.
        backend: Implementation; None chooses.

    Returns:
        Features (B, C*C) of L2 norm 100, the channel of x varying slowest.

    Raises:
        InputError: If the shapes, dtypes or devices do not match, or the backend cannot run.

    Example:
        >>> import torch
        >>> from qcs import functional as QF
        >>> QF.bilinear_pooling(torch.randn(2, 49, 8), torch.randn(2, 49, 8)).shape
        torch.Size([2, 64])
    """
    check_tokens(x=x, y=y)
    if x.shape[1] != y.shape[1]:
        raise InputError(f"x and y must have the same number of tokens, got {x.shape[1]} and {y.shape[1]}")
    pooled: Tensor = ops.choose(backend, x).bilinear_pooling(x, y)
    return pooled


def _budget(size: int | None) -> AbstractContextManager[None]:
    """Return a context with a memory budget, or the one around it for None."""
    return nullcontext() if size is None else ops.memory_budget(size)


def _map(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Return the softmax of scores (B, N, M) over the M tokens that are not padding (B, M)."""
    if mask is None:
        return scores.softmax(2)
    keys = mask.unsqueeze(1)
    return scores.masked_fill(keys, torch.finfo(scores.dtype).min).softmax(2).masked_fill(keys, 0)


def _prepared(
    images: tuple[Tensor, ...], masks: Masks | None, logits: bool, dtype: torch.dtype | None
) -> tuple[tuple[Tensor, ...], Output]:
    """Return the images with harmless padding, and the form of the result.

    Raises:
        InputError: If the masks do not fit the images, or the dtype is not a floating-point one.
    """
    if dtype is not None and not dtype.is_floating_point:
        raise InputError(f"dtype must be a floating-point dtype, got {dtype}")
    if masks is None:
        return images, Output(logits, dtype)
    if isinstance(masks, Tensor) or len(masks) != len(images):
        given = "one tensor" if isinstance(masks, Tensor) else len(masks)
        raise InputError(f"key_padding_mask must have a mask or None for each of {len(images)} images, got {given}")
    for number, (x, mask) in enumerate(zip(images, masks, strict=True)):
        if mask is not None and (mask.dtype != torch.bool or mask.shape != x.shape[:2] or mask.device != x.device):
            raise InputError(
                f"key_padding_mask[{number}] must be a mask {tuple(x.shape[:2])} of booleans on {x.device}, "
                f"got {mask.dtype} of shape {tuple(mask.shape)} on {mask.device}"
            )
    filled = tuple(without_padding(x, mask) for x, mask in zip(images, masks, strict=True))
    return filled, Output(logits, dtype, tuple(masks))


def check_tokens(**tokens: Tensor) -> None:
    """Raise InputError unless all tensors are tokens (B, N, C) of one batch size, width, dtype and device.

    The message names the first tensor that does not match.
    """
    first_name, first = next(iter(tokens.items()))
    for name, x in tokens.items():
        if not isinstance(x, Tensor):
            raise InputError(f"{name} must be a tensor (B, N, C), got {type(x).__name__}")
        if x.ndim != 3 or 0 in x.shape:
            raise InputError(f"{name} must have shape (B, N, C) with no empty dimension, got {tuple(x.shape)}")
        if not x.is_floating_point():
            raise InputError(f"{name} must have a floating-point dtype, got {x.dtype}")
        if x.shape[0] != first.shape[0] or x.shape[2] != first.shape[2]:
            raise InputError(
                f"{first_name} and {name} must agree in batch size and channels, "
                f"got {tuple(first.shape)} and {tuple(x.shape)}"
            )
        if x.dtype != first.dtype or x.device != first.device:
            raise InputError(
                f"{first_name} and {name} must have one dtype and device, "
                f"got {first.dtype} on {first.device} and {x.dtype} on {x.device}"
            )


def check_exemplars(x: Tensor, exemplars: Tensor, own: Tensor | None) -> None:
    """Raise InputError unless x (B, N, C) and exemplars (K, M, C) fit one another and own (B, K) fits both."""
    check_tokens(x=x)
    check_tokens(exemplars=exemplars)
    if x.shape[2] != exemplars.shape[2]:
        raise InputError(
            f"images and exemplars must agree in channels, got {tuple(x.shape)} and {tuple(exemplars.shape)}"
        )
    if x.dtype != exemplars.dtype or x.device != exemplars.device:
        raise InputError(
            f"images and exemplars must have one dtype and device, "
            f"got {x.dtype} on {x.device} and {exemplars.dtype} on {exemplars.device}"
        )
    if own is not None and (own.dtype != torch.bool or own.shape != (x.shape[0], exemplars.shape[0])):
        raise InputError(
            f"own must be a mask (B, K) of booleans, here ({x.shape[0]}, {exemplars.shape[0]}), "
            f"got {own.dtype} of shape {tuple(own.shape)}"
        )
