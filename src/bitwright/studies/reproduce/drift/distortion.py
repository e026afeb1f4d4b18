"""The error of narrow sub-tensors by formula and as measured, on the codes of a network under int8.

Every sub-tensor of at most `block` elements of the reduction is made narrow, counting from zero, however sparse: delta
is its mean absolute deviation in steps of the narrow code. Those that lose nothing (no low-order bit dropped) are left
out. Errors are squared and summed over all sub-tensors of a bin, by the sum of squared deviations from each one's mean,
in the formula (of unlimited, continuous Laplace data around zero) as in the measurement; what lies off zero loses more.
The range test sees to it that sub-tensors with few deviations in a step have long tails, and those with many short
ones, so that the formula, which knows neither, overstates one error and understates the other: Laplace draws of the
same deviations, rounded to integers and made narrow by the same tests, say by how much.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from bitwright.formats import Integer, Quantized
from bitwright.memory import FloatArray
from bitwright.methods.drift.conversion import (
    Narrowing,
    expected_error,
    narrow_rows,
)
from bitwright.methods.execution import Execution
from bitwright.methods.plan import Plan
from bitwright.networks.network import Batch, Network
from bitwright.studies.simulate import run_listening

EDGES = (0.0, 0.25, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, float("inf"))
"""Of the bins of delta."""
FIRST_USEFUL = 0.5
"""From here on the notes call a threshold useful."""
LEAST_DELTA = 0.02  # below, the error is all of the variance; sinh would overflow
DRAWS, LEAST_DRAWS = 20_000, 30
REACH = 127  # the largest code of a draw


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bin:
    """Sub-tensors of about one deviation.

    Attributes
    ----------
    operand : str
        x or w.
    low, high : float
        Of delta.
    count : int
        Sub-tensors.
    delta : float
        Their mean.
    predicted, measured : float
        Relative squared errors: of the formula, of the codes.
    drawn : float or None
        That of Laplace draws; None where there are too few in the bin.
    """

    operand: str
    low: float
    high: float
    count: int
    delta: float
    predicted: float
    measured: float
    drawn: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class SubTensors:
    """Sub-tensors that lost something, in arrays: dropped bits, delta, squared error, squared deviation."""

    shift: FloatArray
    delta: FloatArray
    error: FloatArray
    variance: FloatArray


class Distortions:
    """A listener that makes every operand narrow."""

    def __init__(self, block: int) -> None:
        self.how = Narrowing(delta=0.0, block=block)
        self.found: dict[str, list[SubTensors]] = {"x": [], "w": []}

    def __call__(self, work: Execution) -> None:
        """Measure one execution of a site."""
        for operand, codes in (("x", work.x), ("w", work.w)):
            if codes is not None and work.plan.quantized:
                self.found[operand].append(_measured(work, operand, codes, self.how))


def _measured(work: Execution, operand: str, codes: Quantized, how: Narrowing) -> SubTensors:
    before = dataclasses.replace(codes, codes=codes.codes.clone(), shifts=None, sums=None)
    conv = work.site.conv
    images = 0 if conv is None or operand == "w" or work.site.groups > 1 else len(conv.kernel)
    after = narrow_rows(_copied(before), how, images=images)
    old, new = (each.flatten(0, -2) for each in _both(before, after))
    assert after.shifts is not None
    return _sub_tensors(old, new, after.shifts.reshape(len(old), -1), codes.zero_point)


def _copied(operand: Quantized) -> Quantized:
    """Codes of its own, which becoming narrow changes in place."""
    return dataclasses.replace(operand, codes=operand.codes.clone())


def _both(before: Quantized, after: Quantized) -> tuple[torch.Tensor, torch.Tensor]:
    return before.codes, after.codes


def _sub_tensors(before: torch.Tensor, after: torch.Tensor, shifts: torch.Tensor, zero_point: int) -> SubTensors:
    """Of lines [lines, K] before and after, and shifts [lines, blocks]."""
    size = -(-before.shape[1] // shifts.shape[1])
    parts = []
    for i, shift in enumerate(shifts.unbind(1)):
        c = before[:, i * size : (i + 1) * size].double() - zero_point
        lost = after[:, i * size : (i + 1) * size].double() - zero_point - c
        from_mean = c - c.mean(1, keepdim=True)
        step = torch.ldexp(torch.ones_like(shift, dtype=torch.float64), shift.clamp(min=0))
        parts.append(
            torch.stack(
                [shift.double(), from_mean.abs().mean(1) / step, lost.square().sum(1), from_mean.square().sum(1)]
            )[:, (shift > 0) & (from_mean.abs().sum(1) > 0)]
        )
    shift_of, delta, error, variance = torch.cat(parts, 1).numpy()
    return SubTensors(shift=shift_of, delta=delta, error=error, variance=variance)


def distortions(network: Network, plan: Plan, batch: Batch | None, block: int) -> tuple[Bin, ...]:
    """By operand and deviation, on one run of `batch` by an int8 plan."""
    listener = Distortions(block)
    run_listening(network, plan, [listener], batch)
    return tuple(each for operand, found in listener.found.items() if found for each in binned(operand, found, block))


def binned(operand: str, found: Sequence[SubTensors], block: int) -> list[Bin]:
    """Bins that hold any sub-tensor."""
    every = SubTensors(
        **{
            field.name: np.concatenate([getattr(each, field.name) for each in found])
            for field in dataclasses.fields(SubTensors)
        }
    )
    formula, place = formula_errors(every.delta), np.digitize(every.delta, EDGES) - 1
    draws = laplace_draws(block, every)
    place_of_draws = np.digitize(draws.delta, EDGES) - 1
    bins = []
    for i in range(len(EDGES) - 1):
        inside, drawn = place == i, place_of_draws == i
        total = float(every.variance[inside].sum())
        if not total:
            continue
        enough = np.count_nonzero(drawn) >= LEAST_DRAWS
        bins.append(
            Bin(
                operand=operand,
                low=EDGES[i],
                high=EDGES[i + 1],
                count=int(inside.sum()),
                delta=float(every.delta[inside].mean()),
                predicted=float((formula * every.variance)[inside].sum()) / total,
                drawn=float(draws.error[drawn].sum() / draws.variance[drawn].sum()) if enough else None,
                measured=float(every.error[inside].sum()) / total,
            )
        )
    return bins


def formula_errors(delta: FloatArray) -> FloatArray:
    """1 - u / sinh(u) of each, from a fine grid."""
    grid = np.geomspace(LEAST_DELTA, 64, 2000)
    known = np.array([expected_error(float(each)) for each in grid])
    found: FloatArray = np.interp(delta, grid, known)
    return found


def laplace_draws(size: int, found: SubTensors, seed: int = 0) -> SubTensors:
    """Sub-tensors of `size` Laplace data around zero with deviations of those found, made narrow alike."""
    deviations = found.delta * 2.0**found.shift
    chosen = deviations[np.linspace(0, len(deviations) - 1, min(DRAWS, len(deviations))).astype(np.int64)]
    numbers = np.random.default_rng(seed).laplace(0, chosen[:, None], (len(chosen), size))
    codes = torch.from_numpy(np.clip(np.rint(numbers), -REACH, REACH).astype(np.int8))
    operand = Quantized(codes=codes.clone(), scale=torch.ones(()), zero_point=0, format=Integer(bits=8))
    after = narrow_rows(operand, Narrowing(delta=0.0, block=size))
    assert after.shifts is not None
    return _sub_tensors(codes, after.codes, after.shifts.reshape(len(codes), 1), 0)
