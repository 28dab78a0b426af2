"""Largest deviations from the golden numbers of the original implementation, by group.

The tests assert on what this module measures; `python tests/parity.py` prints it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))

from golden import recipe

import qcs
from qcs import functional as QF
from qcs.engine.training.sam import SAM
from qcs.functional import Backend
from qcs.losses import JointLoss, kl_distillation, l2_distillation
from qcs.models import CrossSimilarityNetwork
from qcs.models.original import rename

GOLDEN = Path(__file__).parent / "golden"
NETWORKS = {
    "qcs_raf_db": "qcs_ir50.raf_db",
    "dcs_raf_db": "dcs_ir50.raf_db",
    "dcs_affectnet8": "dcs_ir50.affectnet8",
}
WITH_SAM = ("qcs_raf_db", "dcs_raf_db")
BACKENDS: tuple[Backend, ...] = ("reference", "analytic")
MODES = ("eval", "train")
BRANCHES = ("a", "p", "n", "n2")
LABELS = {"a": [1, 5], "p": [1, 5], "n": [3, 0], "n2": [3, 0]}

Errors = dict[str, float]


def relative_error(value: Tensor, golden: Tensor) -> float:
    """Largest absolute deviation over the largest golden magnitude; infinite for other shapes and for NaN."""
    if value.shape != golden.shape:
        return math.inf
    error = float((value.detach().double() - golden.double()).abs().max() / golden.double().abs().max())
    return error if math.isfinite(error) else math.inf


def kernel_errors(dtype: torch.dtype, backend: Backend | None) -> Errors:
    """Every operator of kernels.safetensors, values and gradients, all sizes."""
    golden = load_file(GOLDEN / "kernels.safetensors")
    errors: Errors = {}
    for size in sorted({key.split("/")[0] for key in golden}):
        for key, value in _kernels(size, dtype, backend):
            group = "kernels: " + " ".join(key.split("/")[:2]) + (" of theta" if key.endswith("theta") else "")
            errors[group] = max(errors.get(group, 0.0), relative_error(value, golden[f"{size}/{key}"]))
    return errors


def _kernels(size: str, dtype: torch.dtype, backend: Backend | None) -> Iterator[tuple[str, Tensor]]:
    batch, length, dim = map(int, size.split("x"))
    tokens = {b: recipe.tokens(f"shared/{b}", batch, length, dim, dtype).requires_grad_() for b in BRANCHES}
    upstream = {
        b: torch.from_numpy(recipe.draw(f"cotangent/shared/{b}/{size.rsplit('x', 1)[0]}", (batch, length))).to(dtype)
        for b in BRANCHES
    }
    for operator in ("dcs_s", "qcs_sd", "qcs_s", "qcs_d"):
        theta = torch.tensor(0.37, dtype=dtype, requires_grad=True)
        branches = BRANCHES[:2] if operator == "dcs_s" else BRANCHES
        images = [tokens[b] for b in branches]
        if operator == "dcs_s":
            weights: tuple[Tensor, ...] = QF.cross_similarity(*images, backend=backend)
        else:
            options = {"matrices": operator[4:], "backend": backend}
            weights = QF.quadruplet_cross_similarity(*images, gain=1 + theta.tanh(), **options)
        inputs = [*images, theta] if operator == "qcs_sd" else images
        grads = torch.autograd.grad(weights, inputs, [upstream[b] for b in branches])
        for branch, weight in zip(branches, weights, strict=True):
            yield f"{operator}/attention/{branch}", weight
        for name, grad in zip((*branches, "theta"), grads, strict=False):
            yield f"{operator}/grad/{name}", grad
    anchor, positive = tokens["a"], tokens["p"]
    yield from zip(("sdpa/a", "sdpa/p"), QF.scaled_dot_product_maps(anchor, positive), strict=True)
    pooled = QF.bilinear_pooling(anchor, positive, backend=backend)
    yield "bilinear_pooling/sum", pooled.sum()
    yield "bilinear_pooling/head", pooled[:, :64]
    yield "euclidean_loss", l2_distillation(anchor.mean(1), positive.mean(1))
    yield "kl_T4", kl_distillation(anchor.mean(1), positive.mean(1), 4.0)


def network(schema: str, dtype: torch.dtype, backend: Backend | None = None) -> CrossSimilarityNetwork:
    """The published network with the golden recipe's weights, dropout off."""
    model = qcs.create_model(NETWORKS[schema], backend=backend).to(dtype)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    qcs.load_checkpoint(model, recipe.state_dict(schema, dtype))
    return model


def images(model: CrossSimilarityNetwork, dtype: torch.dtype) -> list[Tensor]:
    """The golden images of every branch of the model."""
    return [recipe.images(f"shared/{b}", dtype=dtype) for b in BRANCHES[: model.branches]]


def labels(model: CrossSimilarityNetwork) -> Tensor:
    """The golden labels (branches, 2)."""
    return torch.tensor([LABELS[b] for b in BRANCHES[: model.branches]])


def live_parameters(schema: str, model: CrossSimilarityNetwork) -> dict[str, Tensor]:
    """Parameters of the model by their original names."""
    parameters = dict(model.named_parameters())
    return {key: parameters[rename(key)] for key in recipe.shapes(schema) if rename(key) in parameters}


class Comparison:
    """Collects deviations by group, and knows which golden numbers nobody asked about."""

    def __init__(self, schema: str, parts: tuple[str, ...]) -> None:
        self.schema = schema
        golden = load_file(GOLDEN / f"{schema}.safetensors") | load_file(GOLDEN / f"{schema}.projections.safetensors")
        self.golden = {key: value for key, value in golden.items() if key.startswith(parts)}
        self._left = set(self.golden)
        self._errors: Errors = {}

    def __call__(self, group: str, key: str, value: Tensor) -> None:
        self._record(group, key, relative_error(value, self.golden[key]))

    def projection(self, group: str, key: str, value: Tensor) -> None:
        """Compare the inner product with a random direction, relative to the product of both norms."""
        direction = torch.from_numpy(recipe.draw(f"projection/{key.split('/')[-1]}", tuple(value.shape))).double()
        value = value.detach().double()
        error = float((value * direction).sum() - self.golden[key]) / float(value.norm() * direction.norm())
        self._record(group, key, abs(error) if math.isfinite(error) else math.inf)

    def _record(self, group: str, key: str, error: float) -> None:
        group = f"{self.schema}: {group}"
        self._errors[group] = max(self._errors.get(group, 0.0), error)
        self._left.discard(key)

    def errors(self) -> Errors:
        """Largest deviation per group; infinite for golden numbers that were never compared."""
        missed = {f"{self.schema}: never compared, {key}": math.inf for key in self._left}
        return {**self._errors, **missed}


def network_errors(
    schema: str, dtype: torch.dtype, backend: Backend | None, modes: tuple[str, ...] = MODES, sam: bool = False
) -> Errors:
    """Logits, losses, gradients and running statistics, in evaluation and in training mode, and two steps of SAM.

    Args:
        schema: Name of the network's golden numbers.
        dtype: Precision of weights and images.
        backend: Implementation of the operator.
        modes: Modes to compare, `"eval"` and `"train"`.
        sam: Whether to continue with SAM, whose first pass is that of training mode.

    Returns:
        Largest deviation per group.
    """
    compare = Comparison(schema, (*(f"{mode}/" for mode in modes), *(["sam/"] if sam else [])))
    model = network(schema, dtype, backend)
    inputs = images(model, dtype)
    for mode in modes:
        model.train(mode == "train")
        if mode == "eval":
            _compare_inference(compare, model, inputs[0])
        if f"{mode}/base/a" in compare.golden:
            loss = _compare_branches(compare, mode, model, inputs)
    if sam:
        _compare_sam(compare, model, inputs, loss)
    return compare.errors()


def _compare_inference(compare: Comparison, model: CrossSimilarityNetwork, x: Tensor) -> None:
    with torch.no_grad():
        compare("inference logits", "eval/logits", model(x))
        for level, features in enumerate(model.backbone(x), start=1):
            compare("backbone", f"eval/backbone/{level}/mean", features.mean((2, 3)))


def _compare_branches(compare: Comparison, mode: str, model: CrossSimilarityNetwork, inputs: list[Tensor]) -> Tensor:
    """Compare a forward and a backward pass; return the loss."""
    out = model(*inputs)
    for index, branch in enumerate(BRANCHES[: model.branches]):
        compare(f"{mode} logits", f"{mode}/base/{branch}", out.base[index])
        compare(f"{mode} logits", f"{mode}/cross/{branch}", out.cross[index])
    loss: Tensor = JointLoss()(out, labels(model))["loss"]
    model.zero_grad()
    loss.backward()
    for key, parameter in live_parameters(compare.schema, model).items():
        kind = "gradient of theta" if key.endswith("theta") else "gradient norms"
        assert parameter.grad is not None, f"no gradient for {key}"
        compare(f"{mode} {kind}", f"{mode}/grad_norm/{key}", parameter.grad.double().norm())
        compare.projection(f"{mode} gradient projections", f"{mode}/grad_projection/{key}", parameter.grad)
    if mode == "train":
        compare("training loss", "train/loss", loss)
        buffers = dict(model.named_buffers())
        for key in compare.golden:
            if key.startswith("train/buffer_sum/"):
                buffer = buffers[rename(key.removeprefix("train/buffer_sum/"))]
                compare("running statistics", key, buffer.double().sum())
            if key.startswith("train/buffer_projection/"):
                buffer = buffers[rename(key.removeprefix("train/buffer_projection/"))]
                compare.projection("running statistics, projections", key, buffer)
    return loss.detach()


def _compare_sam(compare: Comparison, model: CrossSimilarityNetwork, inputs: list[Tensor], loss: Tensor) -> None:
    """Compare two steps of SAM over Adam in training mode: losses at w and w + e, and every parameter's change.

    The loss at the first w, and its gradients, are there already: they are the golden numbers of training mode.
    """
    targets, parameters = labels(model), live_parameters(compare.schema, model)
    before = {key: parameter.detach().clone() for key, parameter in parameters.items()}
    optimizer = SAM(torch.optim.Adam(model.parameters(), lr=1e-4), rho=0.05)

    def backward() -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = JointLoss()(model(*inputs), targets)["loss"]
        loss.backward()
        return loss.detach()

    for step in range(2):
        compare("SAM losses", f"sam/{step}/first_loss", loss if step == 0 else backward())
        optimizer.climb()
        compare("SAM losses", f"sam/{step}/second_loss", backward())
        optimizer.step()
    for key, parameter in parameters.items():
        change = (parameter.detach() - before[key]).double().norm()
        compare("SAM change of every parameter", f"sam/delta_norm/{key}", change)


def columns() -> Iterator[tuple[str, Errors]]:
    """Largest deviation of every group by precision and backend; the training step with the default backend."""
    for dtype, name in ((torch.float64, "float64"), (torch.float32, "float32")):
        for backend in BACKENDS:
            errors = kernel_errors(dtype, backend)
            for schema in NETWORKS:
                errors |= network_errors(schema, dtype, backend, sam=backend == "analytic" and schema in WITH_SAM)
            yield f"{backend} {name}", errors


def main() -> None:
    """Print the largest deviation of every group, in float64 and in float32, by backend."""
    found = dict(columns())
    print(f"{'largest relative error':<50}" + "".join(f"{name:>19}" for name in found))
    for group in found["analytic float64"]:
        print(f"{group:<50}" + "".join(f"{errors.get(group, math.nan):>19.1e}" for errors in found.values()))


if __name__ == "__main__":
    main()
