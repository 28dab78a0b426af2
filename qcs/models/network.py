"""The network of Quadruplet Cross Similarity: one class for one, two or four branches and any size.

The base network (backbone, tokens, transformer) classifies single images. In training the cross part compares the
images of all branches and teaches the base network; at inference it is not run.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

import timm
import torch
from einops import rearrange
from torch import Tensor, nn

from qcs.branches import BRANCHES, BranchLogits
from qcs.errors import InputError
from qcs.functional import Backend, Matrices, Scope, check_option
from qcs.layers import ContrastiveResidualDistillation, DualCrossModule, QuadrupletCrossModule, TokenTransformer
from qcs.layers.cross_module import Attention, Residual
from qcs.layers.residual_distillation import Connection
from qcs.models.level_tokens import LevelTokens

CROSS_PREFIXES = ("cross_modules.", "distillation.")


class CrossSimilarityNetwork(nn.Module):
    """Base network, and for two or four branches the cross modules that teach it (paper Fig. 3).

    Args:
        backbone: Name of the backbone, `"ir50"` or `"ir_nano"`.
        branches: 4 (QCS), 2 (DCS) or 1 (the base network alone).
        num_classes: Number of classes; 0 leaves the features before the linear heads.
        in_chans: Channels of the images.
        img_size: Side in pixels of the images inside the backbone, which resamples others; halved to `grid_size`.
        grid_size: Side of the token grid of each level.
        embed_dim: Channels C of the tokens.
        base_depth: Transformer blocks of the base classifier.
        cross_depth: Transformer blocks of the cross classifier.
        num_heads: Attention heads of both; must divide `embed_dim`.
        mlp_ratio: Hidden width of all MLPs over C.
        base_drop_rate: Dropout of the base classifier's transformer, a probability.
        cross_drop_rate: Dropout of the cross classifier's transformer, a probability.
        drop_attention_projection: Whether that dropout also follows the attention projections.
        attention: Attention of the cross modules: `"csa"`, or with two branches `"sdpa"`.
        matrices: With four branches, the matrices compared: `"sd"`, `"s"` or `"d"`.
        residual: Residual stream of the cross modules, `"normalized"` or `"identity"`.
        scope: Where extremal distances are taken: the whole `"batch"` (as published) or each `"sample"`.
        connection: How the cross classifier sees base and cross features, see `ContrastiveResidualDistillation`.
        backend: Implementation of the attention weights; None chooses.

    Raises:
        InputError: If an option is unknown, or `forward` gets images that do not fit.

    Example:
        >>> import qcs, torch
        >>> model = qcs.create_model("qcs_nano", num_classes=7)
        >>> images = torch.randn(4, 2, 3, 48, 48)
        >>> model(images[0]).shape, model(*images).cross.shape
        (torch.Size([2, 7]), torch.Size([4, 2, 7]))
    """

    def __init__(
        self,
        backbone: str = "ir50",
        branches: int = 4,
        num_classes: int = 7,
        in_chans: int = 3,
        img_size: int = 112,
        grid_size: int = 7,
        embed_dim: int = 768,
        base_depth: int = 2,
        cross_depth: int = 1,
        num_heads: int = 8,
        mlp_ratio: float = 4.0,
        base_drop_rate: float = 0.0,
        cross_drop_rate: float = 0.0,
        drop_attention_projection: bool = False,
        attention: Attention = "csa",
        matrices: Matrices = "sd",
        residual: Residual = "normalized",
        scope: Scope = "batch",
        connection: Connection = "vit",
        backend: Backend | None = None,
    ) -> None:
        super().__init__()
        # What rebuilds this network; `backend` is left out because it belongs to the machine, not to the weights.
        self.model_args = {k: v for k, v in locals().items() if k not in ("self", "backend", "__class__")}
        if branches not in BRANCHES:
            raise InputError(f"branches must be 1 (base), 2 (DCS) or 4 (QCS), got {branches}")
        if attention != "csa" and branches == 4:
            raise InputError(f"attention={attention!r} is defined for two branches only, got branches={branches}")
        check_option("attention", attention, ("csa", "sdpa"))
        check_option("matrices", matrices, ("s", "d", "sd"))
        check_option("residual", residual, ("normalized", "identity"))
        check_option("scope", scope, ("batch", "sample"))
        check_option("connection", connection, ("vit", "gap", "bilinear", "none"))
        self.pretrained_cfg: dict[str, Any] = {}  # timm's metadata: preprocessing, label names, origin
        self.branches = branches
        self.num_classes = num_classes
        self.num_features = self.head_hidden_size = embed_dim
        self.backbone: Any = timm.create_model(backbone, features_only=True, in_chans=in_chans, img_size=img_size)
        info = self.backbone.feature_info
        if img_size % max(info.reduction()):
            raise InputError(f"img_size must be a multiple of {max(info.reduction())} for {backbone}, got {img_size}")
        sides = [img_size // reduction for reduction in info.reduction()]
        self.tokens = LevelTokens(info.channels(), sides, grid_size, embed_dim)
        num_tokens = len(sides) * grid_size**2
        self.base = TokenTransformer(
            embed_dim,
            num_tokens,
            num_classes,
            depth=base_depth,
            num_heads=num_heads,
            mlp_ratio=mlp_ratio,
            drop_rate=base_drop_rate,
            proj_drop_rate=base_drop_rate if drop_attention_projection else 0.0,
        )
        if branches == 1:
            return
        shared: dict[str, Any] = dict(residual=residual, scope=scope, mlp_ratio=mlp_ratio, backend=backend)
        self.cross_modules = nn.ModuleList(
            DualCrossModule(embed_dim, attention=attention, **shared)
            if branches == 2
            else QuadrupletCrossModule(embed_dim, matrices=matrices, **shared)
            for _ in sides
        )
        self.distillation = ContrastiveResidualDistillation(
            embed_dim,
            num_tokens,
            num_classes,
            connection=connection,
            depth=cross_depth,
            num_heads=num_heads,
            mlp_ratio=mlp_ratio,
            drop_rate=cross_drop_rate,
            proj_drop_rate=cross_drop_rate if drop_attention_projection else 0.0,
        )

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes in index order; their numbers where no names are known."""
        names = self.pretrained_cfg.get("label_names") or range(self.num_classes)
        return tuple(map(str, names))

    def no_weight_decay(self) -> set[str]:
        """Parameters that weight decay should leave alone."""
        return {name for name, _ in self.named_parameters() if name.endswith(("cls_token", "pos_embed", "theta"))}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Parameter groups from input to output, for layer-wise learning rates."""
        stages = r"^backbone\.model\.stages\.(\d+)" if coarse else r"^backbone\.model\.stages\.(\d+)\.(\d+)"
        return dict(stem=r"^backbone\.model\.stem", blocks=[(stages, None), (r"^base\.blocks\.(\d+)", (99,))])

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute activations in the backward pass instead of keeping them; running statistics stay exact."""
        trunk = getattr(self.backbone, "model", self.backbone)  # some of timm's wrappers do not pass this on
        trunk.set_grad_checkpointing(enable)
        for module in self.modules():
            if isinstance(module, TokenTransformer):
                module.grad_checkpointing = enable

    def get_classifier(self) -> nn.Module:
        """The linear head of the base classifier."""
        return self.base.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the heads of both classifiers by fresh ones for `num_classes`; 0 removes them.

        Raises:
            InputError: If `global_pool` is given: the classifiers read a class token, there is nothing to pool.
        """
        if global_pool:
            raise InputError(f"global_pool does not apply to a class-token network, got {global_pool!r}")
        self.num_classes = self.model_args["num_classes"] = num_classes
        self.name_classes(None)
        self.base.reset_classifier(num_classes)
        if self.branches > 1:
            self.distillation.reset_classifier(num_classes)
            self.distillation.to(self.base.cls_token.device, self.base.cls_token.dtype)

    def name_classes(self, names: Sequence[str] | None) -> None:
        """Say what the classes are called, in index order; the names travel with saved weights.

        Raises:
            InputError: If there are not as many names as classes.
        """
        if names is not None and len(names) != self.num_classes:
            raise InputError(f"expected {self.num_classes} class names, got {len(names)}: {', '.join(names)}")
        cfg = {**self.pretrained_cfg, "num_classes": self.num_classes, "label_names": names and tuple(names)}
        self.pretrained_cfg = self.default_cfg = {key: value for key, value in cfg.items() if value is not None}

    def inference_model(self) -> CrossSimilarityNetwork:
        """A copy without cross part: same logits for single images, loads the same weights."""
        model = copy.deepcopy(self)
        if self.branches > 1:
            del model.cross_modules, model.distillation
        model.branches = model.model_args["branches"] = 1
        return model

    def forward_features(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) to normalised tokens (B, 1 + N, C), the class token first."""
        return self.base.forward_features(self.tokens(self.backbone(x)))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Tokens (B, 1 + N, C) to base logits (B, classes), or to the gated class token (B, C)."""
        return self.base.forward_head(x, pre_logits=pre_logits)

    def forward(
        self,
        x_a: Tensor,
        x_p: Tensor | None = None,
        x_n: Tensor | None = None,
        x_n2: Tensor | None = None,
        *,
        return_attention: bool = False,
    ) -> Any:
        """Classify single images, or compare the images of all branches.

        Args:
            x_a: Anchors (B, in_chans, H, W).
            x_p: Positives, of the anchors' classes.
            x_n: Negatives, of other classes.
            x_n2: Second negatives, of the negatives' classes.
            return_attention: Also return the attention of the cross modules; needs all branches.

        Returns:
            With anchors alone, base logits (B, classes); with all branches, `BranchLogits`.
        """
        images = [x for x in (x_a, x_p, x_n, x_n2) if x is not None]
        self._check(images, return_attention)
        if len(images) == 1:
            return self.forward_head(self.forward_features(x_a))
        tokens = self.base.forward_features(self.tokens(self._branch_maps(images)))
        features = tokens[:, 1:]
        cross_features, attention = self._compare(features)
        base = self.base.forward_head(tokens)
        cross = self.distillation(features, cross_features)
        split = partial(rearrange, pattern="(branch b) classes -> branch b classes", branch=self.branches)
        return BranchLogits(split(base), split(cross), attention if return_attention else None)

    def _branch_maps(self, images: list[Tensor]) -> list[Tensor]:
        """Feature maps (branches * B, C, H, W) of every level.

        In training each branch passes the backbone by itself: it is normalised by its own batch statistics, and the
        running statistics see a, p, n, n2 in turn. Everything after the backbone is batch-independent.
        """
        if not self.training:
            maps: list[Tensor] = self.backbone(torch.cat(images))
            return maps
        branches = [self.backbone(x) for x in images]
        return [torch.cat(level) for level in zip(*branches, strict=True)]

    def _compare(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Cross features (branches * B, N, C) and attention (levels, branches, B, N / levels) of base features."""
        refined, attention = [], []
        for module, level in zip(self.cross_modules, features.chunk(len(self.cross_modules), dim=1), strict=True):
            out, weights = module(*level.chunk(self.branches), return_attention=True)
            refined.append(torch.cat(out))
            attention.append(torch.stack(weights))
        return torch.cat(refined, dim=1), torch.stack(attention)

    def _check(self, images: list[Tensor], return_attention: bool) -> None:
        if len(images) not in (1, self.branches):
            expected = "1 image batch" if self.branches == 1 else f"1 or {self.branches} image batches"
            raise InputError(f"this network takes {expected}, got {len(images)}")
        if return_attention and len(images) == 1:
            raise InputError(f"attention compares images: pass all {self.branches} branches, or return_attention=False")
        weight = self.base.cls_token
        channels = self.model_args["in_chans"]
        for x in images:
            if x.ndim != 4 or x.shape[1] != channels or 0 in x.shape:
                raise InputError(f"expected images (B, {channels}, H, W), got shape {tuple(x.shape)}")
            if x.shape != images[0].shape:
                raise InputError(f"all branches must have one shape, got {tuple(images[0].shape)} and {tuple(x.shape)}")
            if not x.is_floating_point() or (x.dtype != weight.dtype and not torch.is_autocast_enabled(x.device.type)):
                raise InputError(f"expected normalised images of dtype {weight.dtype}, got {x.dtype}")
            if x.device != weight.device:
                raise InputError(f"the network is on {weight.device}, the images are on {x.device}; move one of them")
