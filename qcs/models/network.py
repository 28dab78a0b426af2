"""The network of Quadruplet Cross Similarity: one class for one, two or four branches and any size.

The base network (backbone, tokens, transformer) classifies single images. In training the cross part compares the
images of all branches and trains the base network through the comparison; inference does not run it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

import torch
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from qcs.branches import BRANCHES, BranchLogits
from qcs.errors import InputError, check_choice
from qcs.functional import SCOPES, Backend, Matrices, Scope
from qcs.layers import ContrastiveResidualDistillation, DualCrossModule, QuadrupletCrossModule, TokenTransformer
from qcs.layers.branch_norm import branches_at_once, convert_branch_batch_norm, separates_branches
from qcs.layers.cross_module import Attention, Residual
from qcs.layers.level_tokens import LevelTokens
from qcs.layers.residual_distillation import Connection
from qcs.layers.resize import square_side
from qcs.models.backbone import (
    build_backbone,
    choose_grid,
    feature_levels,
    feature_maps,
    layer_order,
    without_sources,
)
from qcs.models.checkpoint import CROSS_PREFIXES
from qcs.models.images import check_images
from qcs.models.ir import IRNet
from qcs.models.named_classes import NamedClasses
from qcs.typed_call import same_signature

BatchNorm = Literal["branch", "joint", "world"]
NOT_SAVED = ("self", "__class__", "backend", "pretrained_backbone")
CROSS_ARGS = ("cross_depth", "cross_drop_rate", "attention", "matrices", "residual", "scope", "connection")
"""Arguments that a base network ignores."""
RESOLVED = ("drop_rate", "global_pool")  # not saved either: other arguments hold what they set


class CrossSimilarityNetwork(NamedClasses, nn.Module):
    """Classifies images; with two or four branches, cross modules train it by comparing images (paper Fig. 3).

    Args:
        backbone: Name of the backbone: `"ir50"`, `"ir_nano"` or any timm model with three or more levels of features.
        branches: 4 (QCS), 2 (DCS) or 1 (the base network alone).
        num_classes: Number of classes; 0 returns the features before the linear heads.
        in_chans: Channels of the images.
        img_size: Side in pixels of the images inside the backbone, or a pair of equal sides; None for the backbone's
            own. The `ir` backbones resize images of other sizes.
        grid_size: Side of the token grid, to which each level is halved; None for the smallest level's side, itself
            halved while it is even and above 8.
        embed_dim: Channels C of the tokens.
        base_depth: Transformer blocks of the base classifier.
        cross_depth: Transformer blocks of the cross classifier.
        num_heads: Attention heads of both; must divide `embed_dim`.
        mlp_ratio: Hidden width of all MLPs over C.
        drop_rate: Dropout of both classifiers' transformers, a probability; replaces the rates of a registered name.
        base_drop_rate: Dropout of the base classifier's transformer alone; None takes `drop_rate`.
        cross_drop_rate: Dropout of the cross classifier's transformer alone; None takes `drop_rate`.
        drop_attention_projection: Whether dropout also follows the attention projections.
        drop_path_rate: Stochastic depth, a probability: in the backbone as timm applies it (growing from block to block
            up to this rate; `backbone_args` may set another), in the blocks of both classifiers at this rate.
        global_pool: Only `"token"`: the classifiers read the class token.
        attention: Attention of the cross modules: `"csa"`, or with two branches `"sdpa"`.
        matrices: With four branches, the matrices compared: `"sd"`, `"s"` or `"d"`.
        residual: Residual stream of the cross modules, `"normalized"` or `"identity"`.
        scope: Where extremal distances are taken: the whole `"batch"` (as published), each `"sample"`, or the
            `"world"`, the batches of all processes together.
        batch_norm: Statistics of the backbone's batch norms in training: each `"branch"` by itself (as published), all
            branches (`"joint"`, a deviation), or each branch over the `"world"`, the batches of all processes together.
        connection: How the cross classifier combines base and cross features, see `ContrastiveResidualDistillation`.
        backbone_args: Further arguments for `timm.create_model` of the backbone: `out_indices`, ...
        pretrained_backbone: Load timm's weights of the backbone.
        backend: Implementation of the attention weights; None chooses.

    Raises:
        InputError: If an option is unknown, or `forward` receives images that do not fit.

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
        img_size: int | Sequence[int] | None = None,
        grid_size: int | None = None,
        embed_dim: int = 768,
        base_depth: int = 2,
        cross_depth: int = 1,
        num_heads: int = 8,
        mlp_ratio: float = 4.0,
        drop_rate: float = 0.0,
        base_drop_rate: float | None = None,
        cross_drop_rate: float | None = None,
        drop_attention_projection: bool = False,
        drop_path_rate: float = 0.0,
        global_pool: Literal["token"] = "token",
        attention: Attention = "csa",
        matrices: Matrices = "sd",
        residual: Residual = "normalized",
        scope: Scope = "batch",
        batch_norm: BatchNorm = "branch",
        connection: Connection = "vit",
        backbone_args: Mapping[str, Any] | None = None,
        pretrained_backbone: bool = False,
        backend: Backend | None = None,
    ) -> None:
        super().__init__()
        # What rebuilds this network, without what belongs to the machine or to the start of a training.
        self.model_args = {k: v for k, v in locals().items() if k not in (*NOT_SAVED, *RESOLVED)}
        if branches not in BRANCHES:
            raise InputError(f"branches must be 1 (base), 2 (DCS) or 4 (QCS), got {branches}")
        if attention != "csa" and branches == 4:
            raise InputError(f"attention={attention!r} is defined for two branches only, got branches={branches}")
        check_choice("attention", attention, ("csa", "sdpa"))
        check_choice("matrices", matrices, ("s", "d", "sd"))
        check_choice("residual", residual, ("normalized", "identity"))
        check_choice("scope", scope, SCOPES)
        check_choice("batch_norm", batch_norm, ("branch", "joint", "world"))
        check_choice("connection", connection, ("vit", "gap", "bilinear", "none"))
        check_choice("global_pool", global_pool, ("token",))
        base_drop_rate = drop_rate if base_drop_rate is None else base_drop_rate
        cross_drop_rate = drop_rate if cross_drop_rate is None else cross_drop_rate
        img_size = None if img_size is None else square_side(img_size)
        self.pretrained_cfg: dict[str, Any] = {}  # timm's metadata: preprocessing, label names, origin
        self.branches = branches
        self.num_classes = num_classes
        self.num_features = self.head_hidden_size = embed_dim
        stochastic_depth = {"drop_path_rate": drop_path_rate} if drop_path_rate else {}
        args = {**stochastic_depth, **(backbone_args or {})}
        built = build_backbone(backbone, in_chans, img_size, pretrained_backbone, args)
        grid_size = choose_grid(backbone, built, grid_size, backbone_args)
        self.backbone: Any = convert_branch_batch_norm(built.extractor, world=batch_norm == "world")
        if batch_norm == "world" and not separates_branches(self.backbone, world=True):
            raise InputError(f"batch_norm='world' cannot span the norms of {backbone}; use batch_norm='branch'")
        self.backbone_frozen = False
        self._branch_by_branch = False
        self.feature_info = feature_levels(self.backbone, "backbone")
        self.img_size = None if built.resizes else built.side
        # Defaults from timm's metadata are saved: another version's may differ, and the weights depend on them.
        self.model_args.update(img_size=img_size or self.img_size, grid_size=grid_size)
        self.model_args.update(base_drop_rate=base_drop_rate, cross_drop_rate=cross_drop_rate)
        self.model_args["backbone_args"] = without_sources(backbone_args)
        channels, sides = [level.channels for level in built.levels], [level.side for level in built.levels]
        self.tokens = LevelTokens(channels, sides, grid_size, embed_dim)
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
            drop_path_rate=drop_path_rate,
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
            drop_path_rate=drop_path_rate,
        )

    @property
    def resolved_args(self) -> dict[str, Any]:
        """Arguments that rebuild this network whatever the defaults of its registered names will be.

        `backbone_args` also states depths, widths and strides of a backbone of this library; timm defines its own.
        """
        shape: dict[str, Any] = next((m.architecture for m in self.backbone.modules() if isinstance(m, IRNet)), {})
        given = self.model_args["backbone_args"] or {}
        return {**self.model_args, "backbone_args": {**given, **shape} or None}

    def no_weight_decay(self) -> set[str]:
        """Return the names of parameters to exclude from weight decay."""
        return {name for name, _ in self.named_parameters() if name.endswith(("cls_token", "pos_embed", "theta"))}

    def group_matcher(self, coarse: bool = False) -> Callable[[str], tuple[int, ...]]:
        """Return a function that orders the parameters from input to output, for layer-wise learning rates.

        The order is: the backbone's layers as timm orders them, tokens and position embedding, the blocks of the base
        classifier, and last its head with the whole cross part.

        Args:
            coarse: Group by the stages of the backbone instead of its blocks.

        Returns:
            A function from parameter names to positions, as `timm.optim.param_groups_layer_decay` takes it.
        """
        layers = layer_order(self.model_args["backbone"], self.model_args["backbone_args"], coarse)
        last = max(layers.values())

        def order(name: str) -> tuple[int, ...]:
            part, _, rest = name.partition(".")
            if part == "backbone":
                return 0, layers.get(rest.removeprefix("model.").removeprefix("body."), last)
            if part == "tokens" or name in ("base.cls_token", "base.pos_embed"):
                return (1,)
            if name.startswith("base.blocks."):
                return 2, int(name.split(".")[2])
            return (3,)

        return order

    def freeze_backbone(self) -> None:
        """Freeze the backbone: no gradients, and evaluation mode through every later call of `train`."""
        self.backbone_frozen = True
        self.backbone.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> CrossSimilarityNetwork:
        """Switch between training and evaluation mode; a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.backbone_frozen:
            self.backbone.eval()
        return self

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute activations in the backward pass instead of storing them.

        Running statistics of the `ir` backbones stay exact; timm's own backbones update theirs in both passes.

        Args:
            enable: Whether to recompute.

        Raises:
            InputError: If the backbone cannot recompute.
        """
        trunk = getattr(self.backbone, "model", self.backbone)  # some of timm's wrappers do not forward this call
        try:
            trunk.set_grad_checkpointing(enable)
        except (AttributeError, AssertionError) as error:
            raise InputError(
                f"{self.model_args['backbone']} cannot recompute its activations; leave gradient checkpointing off"
            ) from error
        self._branch_by_branch = enable  # in a recomputation a norm would not know how many branches there are
        for module in self.modules():
            if isinstance(module, TokenTransformer):
                module.grad_checkpointing = enable

    def get_classifier(self) -> nn.Module:
        """Return the linear head of the base classifier."""
        return self.base.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the heads of both classifiers by freshly initialized ones.

        Args:
            num_classes: Number of classes; 0 removes the heads.
            global_pool: `"token"` or None, as at creation.

        Raises:
            InputError: If `global_pool` is another one: the classifiers read the class token.
        """
        check_choice("global_pool", "token" if global_pool is None else global_pool, ("token",))
        self.num_classes = self.model_args["num_classes"] = num_classes
        self.name_classes(None)
        self.base.reset_classifier(num_classes)
        if self.branches > 1:
            self.distillation.reset_classifier(num_classes)
            self.distillation.to(self.base.cls_token.device, self.base.cls_token.dtype)

    def inference_model(self) -> CrossSimilarityNetwork:
        """Return a copy without cross part: the same logits for single images, and it loads the same weights."""
        model = copy.deepcopy(self)
        if self.branches > 1:
            del model.cross_modules, model.distillation
            cfg = model.pretrained_cfg
            heads = tuple(head for head in cfg.get("classifier", ()) if not head.startswith(CROSS_PREFIXES))
            model.pretrained_cfg = model.default_cfg = {**cfg, **({"classifier": heads} if heads else {})}
        model.branches = model.model_args["branches"] = 1
        return model

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the normalized tokens (B, 1 + N, C) of images (B, in_chans, H, W), the class token first."""
        return self.base.forward_features(self.tokens(feature_maps(self.backbone, x)))

    @overload
    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: Literal[False] = False,
    ) -> tuple[Tensor, list[Tensor]]: ...

    @overload
    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        *,
        intermediates_only: Literal[True],
    ) -> list[Tensor]: ...

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Return the backbone's feature maps of chosen levels, with timm's arguments.

        Args:
            x: Images (B, in_chans, H, W).
            indices: The levels, or how many of the last ones; None for all. `feature_info` describes them.
            norm: No effect: the levels have no norm of their own.
            stop_early: No effect: the backbone computes all its levels at once.
            output_fmt: Only "NCHW".
            intermediates_only: Return the maps alone, without running tokens and classifier.

        Returns:
            The maps (B, C_level, H, W), or a pair of `forward_features(x)` and the maps.

        Raises:
            InputError: If another output format is requested or the images do not fit.
        """
        check_choice("output_fmt", output_fmt, ("NCHW",))
        self._check([x])
        taken, _ = feature_take_indices(len(self.feature_info), indices)
        levels = feature_maps(self.backbone, x)
        maps = [level for index, level in enumerate(levels) if index in taken]
        return maps if intermediates_only else (self.base.forward_features(self.tokens(levels)), maps)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return base logits (B, classes) of normalized tokens (B, 1 + N, C), or the gated class token (B, C)."""
        return self.base.forward_head(x, pre_logits=pre_logits)

    @overload
    def forward(
        self, x_a: Tensor, x_p: None = None, x_n: None = None, x_n2: None = None, *, return_attention: bool = False
    ) -> Tensor: ...

    @overload
    def forward(
        self,
        x_a: Tensor,
        x_p: Tensor,
        x_n: Tensor | None = None,
        x_n2: Tensor | None = None,
        *,
        return_attention: bool = False,
    ) -> BranchLogits: ...

    def forward(
        self,
        x_a: Tensor,
        x_p: Tensor | None = None,
        x_n: Tensor | None = None,
        x_n2: Tensor | None = None,
        *,
        return_attention: bool = False,
    ) -> Tensor | BranchLogits:
        """Classify single images or compare the images of all branches.

        Args:
            x_a: Anchors (B, in_chans, H, W).
            x_p: Positives, of the anchors' classes, in the anchors' shape.
            x_n: Negatives, of other classes.
            x_n2: Second negatives, of the negatives' classes.
            return_attention: Also return the attention of the cross modules; requires all branches.

        Returns:
            Base logits (B, classes) for anchors alone; `BranchLogits` for all branches.

        Raises:
            InputError: If the number of branches, a shape, dtype or device does not fit.
        """
        images = [x for x in (x_a, x_p, x_n, x_n2) if x is not None]
        self._check(images)
        if return_attention and len(images) == 1:
            raise InputError(f"attention compares images: pass all {self.branches} branches, or return_attention=False")
        if len(images) == 1:
            return self.forward_head(self.forward_features(x_a))
        tokens = self.base.forward_features(self.tokens(self._branch_maps(images)))
        features = tokens[:, 1:]
        cross_features, attention = self._compare(features)
        base = self.base.forward_head(tokens)
        cross = self.distillation(features, cross_features)
        branches = (self.branches, -1)  # (branches * B, classes) to (branches, B, classes)
        return BranchLogits(
            torch.unflatten(base, 0, branches),
            torch.unflatten(cross, 0, branches),
            attention if return_attention else None,
        )

    if TYPE_CHECKING:

        @same_signature(forward)
        def __call__(self) -> object: ...

    def _branch_maps(self, images: list[Tensor]) -> list[Tensor]:
        """Return the feature maps (branches * B, C, H, W) of every level.

        In training each branch is normalized by its own batch statistics, and the running statistics are updated by a,
        p, n, n2 in order, as if each passed the backbone by itself. All after the backbone is batch-independent.
        """
        if not self.backbone.training:
            return feature_maps(self.backbone, torch.cat(images))
        # Asked at every step: a user may replace the norms, as `convert_sync_batchnorm` does.
        apart = separates_branches(self.backbone)
        if self.model_args["batch_norm"] != "joint" and (self._branch_by_branch or not apart):
            branches = [feature_maps(self.backbone, x) for x in images]
            return [torch.cat(level) for level in zip(*branches, strict=True)]
        with branches_at_once(self.backbone, 1 if self.model_args["batch_norm"] == "joint" else len(images)):
            return feature_maps(self.backbone, torch.cat(images))

    def _compare(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return cross features (branches * B, N, C) and attention (levels, branches, B, N / levels)."""
        refined, attention = [], []
        for module, level in zip(self.cross_modules, features.chunk(len(self.cross_modules), dim=1), strict=True):
            out, weights = module(*level.chunk(self.branches), return_attention=True)
            refined.append(torch.cat(out))
            attention.append(torch.stack(weights))
        return torch.cat(refined, dim=1), torch.stack(attention)

    def __prepare_scriptable__(self) -> CrossSimilarityNetwork:
        raise InputError("torch.jit.script cannot compile this network; use torch.jit.trace of inference_model()")

    def _check(self, images: list[Tensor]) -> None:
        check_images(images, self.branches, self.model_args["in_chans"], self.img_size, like=self.base.cls_token)
