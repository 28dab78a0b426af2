"""The calibration that weights carry: what turns their logits into probabilities that can be taken at their word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from qcs.errors import InputError

Numbers = tuple[float, ...]
COVERAGES = tuple(percent / 100 for percent in range(50, 100))
"""Shares of images whose set of labels holds the right one, as weights state them."""
RISKS = tuple(percent / 100 for percent in range(1, 21))
"""Shares of wrong answers, as weights state them."""


@dataclass(frozen=True)
class Scaling:
    """Temperature or vector scaling of log-probabilities (Guo et al., ICML 2017, arXiv 1706.04599).

    Log-probabilities, not logits, because test-time augmentation averages probabilities; a temperature gives the same
    probabilities with both.

    Attributes:
        scale: What multiplies the log-probabilities: one number, 1 / temperature, or one per class.
        bias: What is added to them, one number per class; empty for temperature scaling.

    Example:
        >>> import torch
        >>> Scaling((2.0,))(torch.tensor([[0.0, 0.0]])).softmax(-1).tolist()
        [[0.5, 0.5]]
        >>> Scaling((2.0,)).temperature
        0.5
    """

    scale: Numbers
    bias: Numbers = ()

    @property
    def temperature(self) -> float | None:
        """The temperature; None for vector scaling."""
        return None if self.bias else 1 / self.scale[0]

    def __call__(self, logits: Tensor) -> Tensor:
        """Return calibrated logits (..., K) of logits or log-probabilities (..., K)."""
        scaled = logits.log_softmax(-1) * logits.new_tensor(self.scale)
        return scaled + logits.new_tensor(self.bias) if self.bias else scaled

    def __str__(self) -> str:
        return "vector scaling" if self.temperature is None else f"temperature {self.temperature:.3f}"

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Scaling:
        """Rebuild from metadata that `qcs.models.metadata` has checked."""
        return cls(tuple(map(float, stored["scale"])), tuple(map(float, stored.get("bias", ()))))


@dataclass(frozen=True)
class Calibration:
    """How weights turn logits into probabilities, and on which images that was fitted.

    Attributes:
        label: Scaling for the probability that a label is right.
        votes: Scaling for the distribution of the votes of several annotators; None without votes. It differs: where
            annotators disagree, the label of the majority is more certain than one vote.
        data: Name of the data.
        split: Its split.
        images: Number of images.
        sets: For each of `COVERAGES`, the least probability of the classes in a set that holds the right label with
            that probability; empty if unknown.
        risks: For each of `RISKS`, the least confidence with which answers are wrong no more often than that; None if
            no confidence is high enough. Empty if unknown.

    Example:
        >>> Calibration(Scaling((1.25,)), None, "faces.npz", "validation", 500)
        temperature 0.800, fitted on 500 images of faces.npz, validation
    """

    label: Scaling
    votes: Scaling | None
    data: str
    split: str
    images: int
    sets: Numbers = ()
    risks: tuple[float | None, ...] = ()

    def __repr__(self) -> str:
        return f"{self.label}, fitted on {self.images:,} images of {self.data}, {self.split}"

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain values for JSON."""
        return asdict(self)

    def least_probability(self, coverage: float) -> float:
        """Return the least probability of the classes in a set that holds the right label with probability `coverage`.

        Between two of `COVERAGES`, the higher one is taken.

        Raises:
            InputError: If the coverage is out of range, or the weights do not state such sets.
        """
        return _at_least(coverage, COVERAGES, self.sets, "coverage")

    def least_confidence(self, risk: float) -> float:
        """Return the least confidence with which answers are wrong no more often than `risk`.

        Between two of `RISKS`, the lower one is taken.

        Raises:
            InputError: If the risk is out of range, or no confidence is high enough.
        """
        found = _at_least(1 - risk, [1 - each for each in RISKS], self.risks, "share of right answers, 1 - risk,")
        if found is None:
            raise InputError(f"no confidence of these weights keeps the risk below {risk:g}; allow a higher risk")
        return found

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any], classes: int, where: str) -> Calibration:
        """Rebuild from metadata that `qcs.models.metadata` has checked.

        Args:
            stored: The metadata.
            classes: Number of classes of the network.
            where: Name of the file, for messages.

        Raises:
            InputError: If a number per class is expected and their number is another.
        """
        votes = stored.get("votes")
        found = cls(
            Scaling.from_dict(stored["label"]),
            None if votes is None else Scaling.from_dict(votes),
            stored["data"],
            stored["split"],
            stored["images"],
            tuple(stored.get("sets") or ()),
            tuple(stored.get("risks") or ()),
        )
        for scaling in (found.label, found.votes):
            if scaling is not None and (
                len(scaling.scale) not in (1, classes) or len(scaling.bias) not in (0, classes)
            ):
                raise InputError(
                    f"{where} has a calibration for another number of classes than {classes}; fit it again"
                )
        return found


def _at_least(wanted: float, levels: Sequence[float], values: Sequence[Any], what: str) -> Any:
    """Return the value of the lowest level that is not below the wanted one."""
    if len(values) != len(levels):
        raise InputError(f"these weights do not state what a {what} needs; run qcs calibrate on images of your own")
    fitting = [at for at, level in enumerate(levels) if level >= wanted - 1e-9]
    if not fitting or wanted < 0.5:
        raise InputError(f"{what} must be from 0.5 to {max(levels):g}, got {wanted:g}")
    return values[min(fitting, key=lambda at: levels[at])]


class CalibratedLogits(nn.Module):
    """Apply a scaling as a layer, so that a softmax gives calibrated probabilities.

    Args:
        scaling: The scaling.

    Example:
        >>> import torch
        >>> CalibratedLogits(Scaling((0.5,)))(torch.zeros(1, 4)).softmax(-1).tolist()
        [[0.25, 0.25, 0.25, 0.25]]
    """

    scale: Tensor
    bias: Tensor

    def __init__(self, scaling: Scaling) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(scaling.scale))
        self.register_buffer("bias", torch.tensor(scaling.bias or (0.0,)))

    def forward(self, logits: Tensor) -> Tensor:
        """Return calibrated logits (B, K) of logits (B, K)."""
        return logits.log_softmax(-1) * self.scale + self.bias


def fit_scaling(logits: Tensor, targets: Tensor, method: str = "temperature") -> Scaling:
    """Return the scaling with the least negative log-likelihood of the targets.

    Args:
        logits: (n, K).
        targets: Probabilities (n, K), each row summing to 1: one-hot labels or vote shares.
        method: `"temperature"`, one number; or `"vector"`, a scale and a bias per class.

    Raises:
        InputError: If the images do not determine the scaling.

    Example:
        >>> import torch
        >>> shares = torch.tensor([[0.5, 0.5], [0.75, 0.25]])
        >>> round(fit_scaling(shares.log() * 3, shares).temperature, 3)
        3.0
    """
    log_probabilities, goals = logits.double().log_softmax(-1), targets.double()
    classes = logits.shape[-1]
    if method == "vector" and not bool((goals.sum(0) > 0).all()):
        raise InputError("vector scaling needs images of every class; use temperature scaling")
    count = 1 if method == "temperature" else classes
    log_scale = torch.zeros(count, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=method == "vector")
    parameters = [log_scale, bias] if method == "vector" else [log_scale]
    search = torch.optim.LBFGS(parameters, max_iter=500, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        scaled = (log_probabilities * log_scale.exp() + bias).log_softmax(-1)
        value: Tensor = -(goals * scaled).sum(-1).mean()
        if method == "vector":  # few images of a class hardly determine its numbers
            value = value + RIDGE * (log_scale.square().sum() + bias.square().sum())
        value.backward()  # type: ignore[no-untyped-call] # PyTorch does not annotate it
        return value

    with torch.enable_grad():
        search.step(loss)  # type: ignore[no-untyped-call] # nor this
        reached = float(loss().detach())
    scale = log_scale.detach().exp()
    if not (reached > LEAST_LOSS and bool(((scale >= LEAST_SCALE) & (scale <= MOST_SCALE)).all())):
        raise InputError(
            f"no {method} scaling fits these images: the network, scaled, is right with all of them, or with too few; "
            "take more images, and none that it was trained on"
        )
    return Scaling(_numbers(scale), _numbers(bias.detach() - bias.detach().mean()) if method == "vector" else ())


LEAST_SCALE, MOST_SCALE, MOST_BIAS = 0.01, 100.0, 100.0
"""Bounds of what a file may state; a fit beyond them means that the images do not determine it."""

RIDGE = 1e-4
"""Weight of the squares of all numbers of vector scaling, in nats."""

LEAST_LOSS = 1e-4
"""In nats; below it every image is classified right, and any larger scale fits still better."""


def _numbers(values: Tensor | Sequence[float]) -> Numbers:
    return tuple(map(float, values))
