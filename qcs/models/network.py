"""The network of Quadruplet Cross Similarity: one class for one, two or four branches and any size.

The base network (backbone, tokens, transformer) classifies single images. In training the cross part compares the
images of all branches and teaches the base network; at inference it is not run.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import signature
from typing import Any, Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from qcs.branches import BRANCHES, BranchLogits
from qcs.errors import InputError
from qcs.functional import Backend, Matrices, check_option
from qcs.layers import ContrastiveResidualDistillation, DualCrossModule, QuadrupletCrossModule, TokenTransformer
from qcs.layers.branch_norm import branches_at_once, split_by_branch
from qcs.layers.cross_module import Attention, Residual
from qcs.layers.level_tokens import LevelTokens
from qcs.layers.processes import SCOPES, LayerScope
from qcs.layers.residual_distillation import Connection
from qcs.models.backbone import build_backbone, choose_grid, feature_maps, layer_order, without_sources
from qcs.models.checkpoint import CROSS_PREFIXES

BatchNorm = Literal["branch", "joint", "world"]
NOT_SAVED = ("self", "__class__", "backend", "pretrained_backbone")
CROSS_ARGS = ("cross_depth", "cross_drop_rate", "attention", "matrices", "residual", "scope", "connection")
"""Arguments that a base network has no use for."""


class CrossSimilarityNetwork(nn.Module):
    """Base network, and for two or four branches the cross modules that teach it (paper Fig. 3).

    Args:
        backbone: Name of the backbone: `"ir50"`, `"ir_nano"` or any timm model with three or more levels of features.
        branches: 4 (QCS), 2 (DCS) or 1 (the base network alone).
        num_classes: Number of classes; 0 leaves the features before the linear heads.
        in_chans: Channels of the images.
        img_size: Side in pixels of the images inside the backbone; None for the backbone's own. `ir50` and `ir_nano`
            resample images of other sizes.
        grid_size: Side of the token grid, to which each level is halved; None for the smallest level's side, itself
            halved while it is even and above 8.
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
        scope: Where extremal distances are taken: the whole `"batch"` (as published), each `"sample"`, or the
            `"world"`, the batches of all processes together.
        batch_norm: Where the backbone's batch norms take their statistics in training: in each `"branch"` by itself (as
            published), in all branches (`"joint"`, a deviation), or in each branch over the `"world"`, the batches of
            all processes together.
        connection: How the cross classifier sees base and cross features, see `ContrastiveResidualDistillation`.
        backbone_args: Anything else for `timm.create_model` of the backbone: `out_indices`, `drop_path_rate`, ...
        pretrained_backbone: Start with timm's weights of the backbone.
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
        img_size: int | None = None,
        grid_size: int | None = None,
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
        scope: LayerScope = "batch",
        batch_norm: BatchNorm = "branch",
        connection: Connection = "vit",
        backbone_args: Mapping[str, Any] | None = None,
        pretrained_backbone: bool = False,
        backend: Backend | None = None,
    ) -> None:
        super().__init__()
        # What rebuilds this network. Left out is what belongs to the machine or to the start of a training.
        self.model_args = {k: v for k, v in locals().items() if k not in NOT_SAVED}
        if branches not in BRANCHES:
            raise InputError(f"branches must be 1 (base), 2 (DCS) or 4 (QCS), got {branches}")
        if attention != "csa" and branches == 4:
            raise InputError(f"attention={attention!r} is defined for two branches only, got branches={branches}")
        check_option("attention", attention, ("csa", "sdpa"))
        check_option("matrices", matrices, ("s", "d", "sd"))
        check_option("residual", residual, ("normalized", "identity"))
        check_option("scope", scope, SCOPES)
        check_option("batch_norm", batch_norm, ("branch", "joint", "world"))
        check_option("connection", connection, ("vit", "gap", "bilinear", "none"))
        self.pretrained_cfg: dict[str, Any] = {}  # timm's metadata: preprocessing, label names, origin
        self.branches = branches
        self.num_classes = num_classes
        self.num_features = self.head_hidden_size = embed_dim
        built = build_backbone(backbone, in_chans, img_size, pretrained_backbone, backbone_args)
        grid_size = choose_grid(backbone, built, grid_size, backbone_args)
        self.backbone: Any = built.extractor
        self.backbone_frozen = False
        self._tell_branches_apart(recomputing=False)
        self.img_size = None if built.resamples else built.side
        # Defaults that come from timm's metadata are kept: another version's may differ, these weights need them.
        self.model_args.update(img_size=img_size or self.img_size, grid_size=grid_size)
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

    def group_matcher(self, coarse: bool = False) -> Callable[[str], tuple[int, ...]]:
        """Order of the parameters from input to output, for layer-wise learning rates.

        The backbone's layers are timm's for the model, then come tokens and position embedding, the blocks of the base
        classifier, and last its head with the whole cross part.

        Args:
            coarse: Stages of the backbone instead of blocks.

        Returns:
            What orders parameter names, as `timm.optim.param_groups_layer_decay` takes it.
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
        """Keep the backbone as it is: no gradients, and evaluation mode through every later call of `train`."""
        self.backbone_frozen = True
        self.backbone.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> CrossSimilarityNetwork:
        """Switch between training and evaluation mode; a frozen backbone stays in the latter."""
        super().train(mode)
        if self.backbone_frozen:
            self.backbone.eval()
        return self

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute activations in the backward pass instead of keeping them.

        Running statistics of `ir50` and `ir_nano` stay exact; timm's own backbones update theirs in both passes.

        Raises:
            InputError: If the backbone cannot.
        """
        trunk = getattr(self.backbone, "model", self.backbone)  # some of timm's wrappers do not pass this on
        try:
            trunk.set_grad_checkpointing(enable)
        except (AttributeError, AssertionError) as error:
            raise InputError(f"{self.model_args['backbone']} cannot recompute its activations") from error
        self._tell_branches_apart(recomputing=enable)
        for module in self.modules():
            if isinstance(module, TokenTransformer):
                module.grad_checkpointing = enable

    def _tell_branches_apart(self, recomputing: bool) -> None:
        """Choose how branches keep statistics of their own; recomputing, a norm would not know them apart."""
        batch_norm = self.model_args["batch_norm"]
        able = split_by_branch(self.backbone, world=batch_norm == "world")
        if batch_norm == "world" and not able:
            raise InputError(f"batch_norm='world' cannot span the norms of {self.model_args['backbone']}")
        self._branch_by_branch = batch_norm != "joint" and (recomputing or not able)

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
            cfg = model.pretrained_cfg
            heads = tuple(head for head in cfg.get("classifier", ()) if not head.startswith(CROSS_PREFIXES))
            model.pretrained_cfg = model.default_cfg = {**cfg, **({"classifier": heads} if heads else {})}
        model.branches = model.model_args["branches"] = 1
        return model

    def forward_features(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) to normalised tokens (B, 1 + N, C), the class token first."""
        return self.base.forward_features(self.tokens(feature_maps(self.backbone, x)))

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

        In training each branch is normalised by its own batch statistics, and the running statistics see a, p, n, n2 in
        turn, as if it passed the backbone by itself. Everything after the backbone is batch-independent.
        """
        if not self.backbone.training:
            return feature_maps(self.backbone, torch.cat(images))
        if self._branch_by_branch:
            branches = [feature_maps(self.backbone, x) for x in images]
            return [torch.cat(level) for level in zip(*branches, strict=True)]
        with branches_at_once(self.backbone, 1 if self.model_args["batch_norm"] == "joint" else len(images)):
            return feature_maps(self.backbone, torch.cat(images))

    def _compare(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Cross features (branches * B, N, C) and attention (levels, branches, B, N / levels) of base features."""
        refined, attention = [], []
        for module, level in zip(self.cross_modules, features.chunk(len(self.cross_modules), dim=1), strict=True):
            out, weights = module(*level.chunk(self.branches), return_attention=True)
            refined.append(torch.cat(out))
            attention.append(torch.stack(weights))
        return torch.cat(refined, dim=1), torch.stack(attention)

    def __prepare_scriptable__(self) -> CrossSimilarityNetwork:
        raise InputError("torch.jit.script cannot compile this network; use torch.jit.trace of inference_model()")

    def _check(self, images: list[Tensor], return_attention: bool) -> None:
        if isinstance(images[0], torch.fx.Proxy):
            raise InputError("torch.fx cannot trace this network; use forward hooks for inner features")
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
            if self.img_size and x.shape[2:] != (self.img_size, self.img_size):
                raise InputError(
                    f"this network takes images of {self.img_size} x {self.img_size} pixels, got {x.shape[2]} x "
                    f"{x.shape[3]}; resize them, or create it with img_size=..."
                )
            if x.shape != images[0].shape:
                raise InputError(f"all branches must have one shape, got {tuple(images[0].shape)} and {tuple(x.shape)}")
            if not x.is_floating_point() or (x.dtype != weight.dtype and not torch.is_autocast_enabled(x.device.type)):
                raise InputError(f"expected normalised images of dtype {weight.dtype}, got {x.dtype}")
            if x.device != weight.device:
                raise InputError(f"the network is on {weight.device}, the images are on {x.device}; move one of them")


def stated_arguments(args: Any, where: str) -> dict[str, Any]:
    """The network's arguments that a file or a repository states, none of which can have other weights loaded.

    Raises:
        InputError: If one can, or is unknown.
    """
    if not isinstance(args, dict):
        raise InputError(f"{where} states arguments that are no arguments: {args!r}")
    known = set(signature(CrossSimilarityNetwork).parameters) - set(NOT_SAVED)
    if unknown := args.keys() - known:
        raise InputError(
            f"{where} was made with arguments that this version does not know: {', '.join(sorted(unknown))}"
        )
    backbone_args = args.get("backbone_args")
    if backbone_args is not None and without_sources(backbone_args) != backbone_args:
        raise InputError(f"{where} names other weights in its backbone_args: refused")
    return args
