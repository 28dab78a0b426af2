"""Compare images with exemplars of every class, the same for all images: comparison that does not tell the label.

Pairs and quadruplets are drawn by label, so the partner images of an image tell its class. Here every image of a step
is compared with one exemplar of each class. This is a form of this library, not of the paper.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, overload

from torch import Tensor
from torch.nn import functional as F

from qcs import functional as QF
from qcs.errors import InputError, check_choice
from qcs.functional import Backend, Scope
from qcs.layers.cross_module import CrossModule, Residual
from qcs.layers.cross_similarity import ProjectedAttention
from qcs.ops import choose
from qcs.typed_call import same_signature

ExemplarAttentionKind = Literal["csa", "uniform"]


class ExemplarAttention(ProjectedAttention):
    """Weights an image's values at every position by the similarity of that position to exemplars.

    The arguments are those of `ExemplarCrossModule`.
    """

    def __init__(
        self,
        dim: int,
        *,
        attention: ExemplarAttentionKind = "csa",
        scope: Scope = "batch",
        backend: Backend | None = None,
    ) -> None:
        super().__init__(dim)
        self.kind = check_choice("attention", attention, ("csa", "uniform"))
        self.scope: Scope = check_choice("scope", scope, ("batch", "sample"))
        choose(backend)  # refuse a backend that cannot run here, not in the first training step
        self.backend: Backend | None = backend

    def forward(self, x: Tensor, exemplars: Tensor, own: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return attended values (B, N, C) and weights (B, N) of images (B, N, C)."""
        if self.kind == "uniform":
            values = self._half(x, 1)
            weights = values.new_full(values.shape[:2], 1 / values.shape[1])
        else:
            (qk,), (values,) = self.project(x)
            references = self._half(exemplars, 0)  # their values are not attended to
            weights = QF.exemplar_similarity(qk, references, own, scope=self.scope, backend=self.backend)
        return weights.unsqueeze(-1) * values, weights

    def _half(self, x: Tensor, which: int) -> Tensor:
        """Return the query-keys (0) or the values (1) of tokens (B, N, C), without computing the others."""
        weight, bias = self.proj.weight.chunk(2)[which], self.proj.bias.chunk(2)[which]
        return F.linear(x, weight, bias)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, attention={self.kind!r}, scope={self.scope!r}"


class ExemplarCrossModule(CrossModule):
    """Refines the tokens of each image by comparing it with one exemplar of every class.

    A form of this library, not of the paper. The block is that of `QuadrupletCrossModule`: norm, attention, residual,
    norm, MLP, residual. The attention compares each image with all exemplars, see
    `qcs.functional.exemplar_similarity`. All images of a call are compared with the same exemplars, which tell
    nothing of an image's label. Exemplars may be images of the same batch, as `qcs.samplers.ClassBatchSampler`
    draws them; `own` then leaves out the comparison of an exemplar with itself. Such an image is compared with the
    other classes only, which may tell its class: leave exemplars out of a loss on the refined tokens.

    Args:
        dim: Channels C of the tokens.
        attention: `"csa"`, or `"uniform"` for an ablation with equal weights, which compares nothing.
        residual: `"normalized"` or `"identity"`, as in `QuadrupletCrossModule`.
        scope: Where the largest distance is taken: over all comparisons of the `"batch"`, or within each comparison
            (`"sample"`).
        mlp_ratio: Hidden width of the MLP over C.
        backend: Implementation of the distances; None chooses.

    Raises:
        InputError: If an option is unknown, or `forward` gets tokens that do not fit.

    Example:
        >>> import torch
        >>> from qcs.layers import ExemplarCrossModule
        >>> x = torch.randn(12, 49, 64)  # the first eight images are exemplars of eight classes
        >>> own = torch.eye(12, 8, dtype=torch.bool)
        >>> ExemplarCrossModule(64)(x, x[:8], own).shape
        torch.Size([12, 49, 64])
    """

    attention: ExemplarAttention

    def __init__(
        self,
        dim: int,
        *,
        attention: ExemplarAttentionKind = "csa",
        residual: Residual = "normalized",
        scope: Scope = "batch",
        mlp_ratio: float = 4.0,
        backend: Backend | None = None,
    ) -> None:
        layer = ExemplarAttention(dim, attention=attention, scope=scope, backend=backend)
        super().__init__(dim, layer, mlp_ratio, residual)

    @overload
    def forward(
        self, x: Tensor, exemplars: Tensor, own: Tensor | None = None, *, return_attention: Literal[False] = False
    ) -> Tensor: ...

    @overload
    def forward(
        self, x: Tensor, exemplars: Tensor, own: Tensor | None = None, *, return_attention: Literal[True]
    ) -> tuple[Tensor, Tensor]: ...

    @overload
    def forward(
        self, x: Tensor, exemplars: Tensor, own: Tensor | None = None, *, return_attention: bool
    ) -> Tensor | tuple[Tensor, Tensor]: ...

    def forward(
        self, x: Tensor, exemplars: Tensor, own: Tensor | None = None, *, return_attention: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return the refined tokens of the images.

        Args:
            x: Tokens of the images (B, N, C).
            exemplars: Tokens (K, M, C) of one image of each of K classes.
            own: Comparisons to leave out (B, K), true where an exemplar is the image itself; None for no such exemplar.
            return_attention: Also return the weights.

        Returns:
            Tokens (B, N, C); with `return_attention`, a pair of those and the weights (B, N).
        """
        QF.check_exemplars(x, exemplars, own)
        if x.shape[-1] != self.attention.dim:
            raise InputError(f"expected tokens (B, N, {self.attention.dim}), got shape {tuple(x.shape)}")
        normed = self.norm1(x)
        attended, weights = self.attention(normed, self.norm1(exemplars), own)
        stream = normed if self.residual == "normalized" else x
        refined = self._feed_forward(stream + attended)
        return (refined, weights) if return_attention else refined

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...
