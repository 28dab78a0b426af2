"""Contracts that every public layer, loss and function on tensors keeps, one table of all of them.

Dtypes, devices, copies, state dicts, gradients, compilation, and the shapes that docstrings state.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
import torch
from shapes import checked, public_functions, public_modules
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils._pytree import tree_leaves

from qcs import functional as QF
from qcs import layers, losses
from qcs.branches import BranchLogits

Inputs = tuple[Any, ...]


class Case(NamedTuple):
    """A public layer, loss or function with inputs that it takes.

    Args:
        build: Makes the module, or returns the function.
        shapes: Shapes of the inputs that are tokens, maps or logits.
        arrange: Makes the arguments from tensors of these shapes.
        without_gradient: Positions of tensors that receive no gradient by design.
    """

    build: Callable[[], Callable[..., Any]]
    shapes: tuple[tuple[int, ...], ...]
    arrange: Callable[..., Inputs] = lambda *tensors: tensors
    without_gradient: tuple[int, ...] = ()

    def tensors(self, dtype: torch.dtype = torch.float64, device: str = "cpu") -> list[Tensor]:
        generator = torch.Generator().manual_seed(1)
        drawn = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in self.shapes]
        return [x.to(device, dtype) for x in drawn]

    def built(self, dtype: torch.dtype = torch.float64, device: str = "cpu") -> Callable[..., Any]:
        torch.manual_seed(0)
        made = self.build()
        return made.to(device, dtype) if isinstance(made, nn.Module) else made


def labeled(*logits: Tensor) -> Inputs:
    """Arguments of the joint loss: base and cross logits, and labels."""
    labels = torch.tensor([[0, 2], [0, 1]], device=logits[0].device)
    return BranchLogits(*logits, *[None] * (2 - len(logits))), labels


def outputs_of(kind: Callable[..., Any]) -> Callable[..., Inputs]:
    """Arguments of a peer's objective: its outputs, and labels."""
    return lambda *tensors: (kind(*tensors), torch.tensor([0, 2], device=tensors[0].device))


def classified(logits: Tensor) -> Inputs:
    """Arguments of an objective of logits alone."""
    return logits, torch.tensor([0, 2], device=logits.device)


def ada_df(logits: Tensor, auxiliary: Tensor, attention: Tensor) -> Inputs:
    """Arguments of the objective of Ada-DF, whose attention is a probability."""
    out = losses.AdaDFOutput(logits, auxiliary, attention.sigmoid())
    return out, torch.tensor([0, 2, 1, 1], device=logits.device)


PAIR = ((2, 5, 6), (2, 4, 6))
QUADRUPLET = ((2, 5, 6), (2, 4, 6), (2, 3, 6), (2, 5, 6))
TOKENS = ((2, 4, 8), (2, 4, 8))
EXEMPLARS = ((3, 5, 6), (2, 4, 6))
LOGITS = ((2, 2, 3), (2, 2, 3))


def in_batch(x: Tensor) -> Inputs:
    """Images, of which the first two are the exemplars, and which comparisons to leave out."""
    return x, x[:2], torch.eye(len(x), 2, dtype=torch.bool, device=x.device)


def connection(name: Any) -> Callable[[], nn.Module]:
    return lambda: layers.ContrastiveResidualDistillation(8, 4, 3, connection=name, num_heads=2)


CASES = {
    "ChannelGate": Case(lambda: layers.ChannelGate(6), ((2, 6),)),
    "BranchBatchNorm2d": Case(lambda: layers.BranchBatchNorm2d(3), ((4, 3, 2, 2),)),
    "LevelTokens": Case(
        lambda: layers.LevelTokens([3, 4], [4, 2], grid_size=2, dim=6),
        ((2, 3, 4, 4), (2, 4, 2, 2)),
        lambda *maps: (list(maps),),
    ),
    "TokenTransformer": Case(lambda: layers.TokenTransformer(8, 4, 3, num_heads=2), TOKENS[:1]),
    "DistanceAttention": Case(lambda: layers.DistanceAttention(6, num_heads=2), PAIR[:1]),
    "CrossSimilarityAttention": Case(lambda: layers.CrossSimilarityAttention(6), PAIR),
    "QuadrupletCrossSimilarityAttention": Case(lambda: layers.QuadrupletCrossSimilarityAttention(6), QUADRUPLET),
    "ScaledDotProductCrossAttention": Case(lambda: layers.ScaledDotProductCrossAttention(6), PAIR),
    "DualCrossModule": Case(lambda: layers.DualCrossModule(6), PAIR),
    "DualCrossModule sdpa": Case(lambda: layers.DualCrossModule(6, attention="sdpa", residual="identity"), PAIR),
    "QuadrupletCrossModule": Case(lambda: layers.QuadrupletCrossModule(6), QUADRUPLET),
    "ExemplarCrossModule": Case(lambda: layers.ExemplarCrossModule(6), EXEMPLARS),
    "ExemplarCrossModule in batch": Case(lambda: layers.ExemplarCrossModule(6), EXEMPLARS[:1], in_batch),
    "ExemplarCrossModule uniform": Case(
        lambda: layers.ExemplarCrossModule(6, attention="uniform", residual="identity"),
        EXEMPLARS,
        without_gradient=(1,),
    ),
    "ContrastiveResidualDistillation vit": Case(connection("vit"), TOKENS),
    "ContrastiveResidualDistillation gap": Case(connection("gap"), TOKENS),
    "ContrastiveResidualDistillation bilinear": Case(connection("bilinear"), TOKENS),
    "ContrastiveResidualDistillation none": Case(connection("none"), TOKENS, without_gradient=(0,)),
    "DANLoss": Case(lambda: losses.DANLoss(3, dim=4), ((2, 3), (2, 4, 2, 2), (2, 5, 4)), outputs_of(losses.DANOutput)),
    "DDAMFNLoss": Case(losses.DDAMFNLoss, ((2, 3), (2, 3, 4, 2, 2)), outputs_of(losses.DDAMFNOutput)),
    "ClassifierLoss": Case(lambda: losses.ClassifierLoss(1.0, 2.0, 0.2), ((2, 3),), classified),
    "LNSULoss": Case(
        lambda: losses.LNSULoss([0.5, 1.0, 2.0]), ((2, 3), (2, 3, 4, 4), (2, 3, 4, 4)), outputs_of(losses.LNSUOutput)
    ),
    # Without the gradient that stops at the teacher, which finite differences do not know.
    "GSDNetLoss": Case(
        lambda: losses.GSDNetLoss(detach_teacher=False), ((2, 3, 3), (2, 3, 4)), outputs_of(losses.GSDNetOutput)
    ),
    "MFERLoss": Case(losses.MFERLoss, ((2, 3, 3),), classified),
    "AdaDFLoss": Case(lambda: losses.AdaDFLoss(3), ((4, 3), (4, 3), (4, 1)), ada_df),
    "JointLoss": Case(losses.JointLoss, LOGITS, labeled),
    "JointLoss base": Case(lambda: losses.JointLoss(class_weights=torch.ones(3)), LOGITS[:1], labeled),
    "JointLoss distillation": Case(
        lambda: losses.JointLoss({"kl": 0.5, "l2": 0.5}, detach_teacher=False, label_smoothing=0.1), LOGITS, labeled
    ),
    "kl_distillation": Case(lambda: losses.kl_distillation, ((2, 3), (2, 3))),
    "l2_distillation": Case(lambda: losses.l2_distillation, ((2, 3), (2, 3))),
    "euclidean_distance": Case(lambda: QF.euclidean_distance, PAIR),
    "cross_similarity": Case(lambda: QF.cross_similarity, PAIR),
    "quadruplet_cross_similarity": Case(lambda: QF.quadruplet_cross_similarity, QUADRUPLET),
    "exemplar_similarity": Case(lambda: QF.exemplar_similarity, EXEMPLARS),
    "exemplar_similarity in batch": Case(lambda: QF.exemplar_similarity, EXEMPLARS[:1], in_batch),
    "distance_attention": Case(lambda: QF.distance_attention, ((2, 5, 6), (2, 4, 6), (2, 4, 3))),
    "scaled_dot_product_maps": Case(lambda: QF.scaled_dot_product_maps, PAIR),
    "bilinear_pooling": Case(lambda: QF.bilinear_pooling, TOKENS),
}
MODULES = {name: case for name, case in CASES.items() if isinstance(case.build(), nn.Module)}

each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
each_module = pytest.mark.parametrize("case", MODULES.values(), ids=MODULES)


@pytest.fixture(autouse=True)
def _shapes_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    for layer in public_modules():
        monkeypatch.setattr(layer, "forward", checked(layer.forward))


def run(function: Callable[..., Any], case: Case, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Tensors that a call returns, its shapes checked."""
    function = function if isinstance(function, nn.Module) else checked(function)
    return [x for x in tree_leaves(function(*case.arrange(*tensors))) if isinstance(x, Tensor)]


def parameters_of(function: Callable[..., Any]) -> list[nn.Parameter]:
    return list(function.parameters()) if isinstance(function, nn.Module) else []


def test_the_table_is_complete() -> None:
    exported = {member.__name__ for member in (*public_modules(), *public_functions())}
    assert exported == {name.partition(" ")[0] for name in CASES}


@each_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lower_precision_returns_its_dtype_and_nearly_the_values_of_float64(case: Case, dtype: torch.dtype) -> None:
    result = run(case.built(dtype), case, case.tensors(dtype))
    exact = run(case.built(), case, [x.double() for x in case.tensors(dtype)])
    # Distances are in float32 at least: half precision would not keep them apart.
    kept = torch.float32 if case.build() is QF.euclidean_distance else dtype
    assert {x.dtype for x in result} == {kept}
    tolerance = 1e-4 if dtype == torch.float32 else 0.1
    for x, y in zip(result, exact, strict=True):
        assert (x.double() - y).abs().max() <= tolerance * y.abs().max()


@each_case
def test_the_meta_device_gives_the_shapes_and_dtypes(case: Case) -> None:
    on_meta = run(case.built(device="meta"), case, case.tensors(device="meta"))
    assert {x.device.type for x in on_meta} == {"meta"}
    here = run(case.built(), case, case.tensors())
    assert [(x.shape, x.dtype) for x in on_meta] == [(x.shape, x.dtype) for x in here]


@each_case
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_values_of_the_cpu(case: Case) -> None:
    on_gpu = run(case.built(torch.float32, "cuda"), case, case.tensors(torch.float32, "cuda"))
    here = run(case.built(torch.float32), case, case.tensors(torch.float32))
    assert_close([x.cpu() for x in on_gpu], here, rtol=1e-3, atol=1e-4)


@each_case
@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))], ids=["copy", "pickle"]
)
def test_copies_give_the_same_values(case: Case, copied: Callable[[Any], Any]) -> None:
    made = case.built()
    twin = copied(made)
    assert_close(run(twin, case, case.tensors()), run(made, case, case.tensors()), rtol=0, atol=0)
    assert not {id(p) for p in parameters_of(made)} & {id(p) for p in parameters_of(twin)}


@each_module
def test_a_state_dict_carries_everything(case: Case) -> None:
    made = case.built()
    for parameter in made.parameters():
        nn.init.normal_(parameter)
    fresh = case.built()
    fresh.load_state_dict(made.state_dict(), strict=True)
    assert_close(run(fresh, case, case.tensors()), run(made, case, case.tensors()), rtol=0, atol=0)
    assert_close(fresh.state_dict(), made.state_dict(), rtol=0, atol=0)


@each_module
def test_the_representation_names_the_class(case: Case) -> None:
    made = case.built()
    assert repr(made).startswith(type(made).__name__)


@each_case
def test_gradients_reach_every_parameter_and_input(case: Case) -> None:
    made, tensors = case.built(), [x.requires_grad_() for x in case.tensors()]
    for parameter in parameters_of(made):
        nn.init.normal_(parameter)
    outputs = [x for x in run(made, case, tensors) if x.requires_grad]
    torch.autograd.backward(outputs, [torch.randn_like(x) for x in outputs])
    assert all(p.grad is not None and p.grad.any() for p in parameters_of(made))
    reached = [x.grad is not None and bool(x.grad.any()) for x in tensors]
    assert reached == [index not in case.without_gradient for index in range(len(tensors))]


@each_case
def test_gradients_equal_finite_differences(case: Case) -> None:
    made, tensors = case.built(), case.tensors()
    names = [name for name, _ in made.named_parameters()] if isinstance(made, nn.Module) else []

    def outputs(*values: Tensor) -> tuple[Tensor, ...]:
        parameters, inputs = values[: len(names)], values[len(names) :]
        if not names:
            return tuple(run(made, case, inputs))
        given = dict(zip(names, parameters, strict=True))
        result = torch.func.functional_call(made, given, case.arrange(*inputs))
        return tuple(x for x in tree_leaves(result) if isinstance(x, Tensor) and x.requires_grad)

    values = [x.detach().requires_grad_() for x in (*parameters_of(made), *tensors)]
    assert torch.autograd.gradcheck(outputs, values, fast_mode=True)


@each_case
def test_compiles_to_one_graph_with_the_same_values(case: Case) -> None:
    torch.compiler.reset()
    made = case.built()
    compiled = torch.compile(made, fullgraph=True, backend="eager")
    inputs = case.arrange(*case.tensors())
    assert_close(compiled(*inputs), case.built()(*inputs))
