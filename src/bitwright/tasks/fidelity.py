"""Fidelity: how close a quantized network's outputs are to its own float outputs; needs no labels.

The score is the signal-to-quantization-noise ratio, 10 log10(sum y^2 / sum (y_q - y)^2) dB over all outputs; KL
divergence (float to quantized), top-1 agreement and cosine are given beside it. It separates methods more finely
than accuracy does on as many samples. Inputs: the test part of `samples`, or those the caller gives. Statistics: one
row per image, sentence or input (per run where the output has no batch axis), or per block of 32 tokens. Independent
are, of samples that are always there, the photographs that crops are of, the paragraphs that sentences are of, and
blocks of 128 tokens; of the caller's, whatever lies along the batch axis. Logits are
taken as they are: an offset that all of them share raises the ratio, though softmax ignores it; KL divergence does not
see it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from bitwright.errors import InputError
from bitwright.later import torch
from bitwright.networks.network import Batch, Network
from bitwright.networks.own_inputs import OwnInputs, own_inputs
from bitwright.tasks.blocks import TOGETHER, block_sums, float64, kl_divergence, named, positions_at_once
from bitwright.tasks.given import axes_of
from bitwright.tasks.inputs import window_length
from bitwright.tasks.samples import (
    Samples,
    available_samples,
    calibration_of,
    default_batches,
    default_units,
    describe,
    drawn,
)
from bitwright.tasks.statistics import ANYTHING, Array, Bounds, ScoreFunction, mean_of, sqnr_of
from bitwright.tasks.task import SQNR, MeasureKind, TaskBatch, divergence
from bitwright.words import counted

DEFAULT_SAMPLES = {"image": 64, "sentence": 256, "language": 4, "tensor": 64}  # language: windows
_UNITS = {"image": ("crop", "crops"), "sentence": ("sentence", "sentences"), "tensor": ("input", "inputs")}
_INDEPENDENT = {"image": ("photograph", "photographs"), "sentence": ("paragraph", "paragraphs")}
_GIVEN = (("batch", "batches"), ("input", "inputs"))  # by whether inputs lie side by side
_SIGNAL, _NOISE, _COSINE, _POSITIONS, _KL, _AGREEMENT = range(6)  # columns of the statistics


def fidelity(*, network: Network, limit: int | None = None, seed: int = 0, given: Samples | None = None) -> Fidelity:
    """The task on samples that are always there, at most `limit` of them, or on those `given`.

    Parameters
    ----------
    network : Network
        Of kind image, sentence, language or tensor.
    limit : int or None
        Tokens for a language model (rounded down to whole windows, at least one), samples for others;
        None is 2,048 tokens, 256 sentences, or 64 images or inputs.
    seed : int
        Of the crops, of the choice of text, of the noise.
    given : Samples or None
        The caller's samples to judge by.
    """
    if given is not None:
        return Fidelity(
            kind=network.kind,
            count=given.count,
            window=0,
            seed=seed,
            tested_on=given.description,
            axis=None if (axes := axes_of(network)) is None else axes.output,
            given=given,
        )
    count = limit if limit is not None else DEFAULT_SAMPLES.get(network.kind, 1)
    if network.kind == "language" and limit is not None:
        count = max(1, limit // window_length(network)) if limit > 0 else limit
    count = available_samples(network, count=count, test=True)
    own = own_inputs(network) if network.kind == "tensor" else None
    return Fidelity(
        kind=network.kind,
        count=count,
        window=window_length(network),
        seed=seed,
        tested_on=describe(network, count=count, seed=seed, test=True),
        independent=_independent(network),
        axis=0 if own is None else own.output_axis,
        own=own,
    )


def _independent(network: Network) -> tuple[str, str] | None:
    """Of samples that are always there; inputs that are drawn are independent."""
    if network.kind == "language":
        return named(window_length(network))
    return None if drawn(network) else _INDEPENDENT.get(network.kind)


def compare_positions(output: torch.Tensor, reference: torch.Tensor, *, logits: bool) -> Array:
    """Statistics [P, 6 or 4] of outputs [P, C] against the float network's: KL and agreement for logits only."""
    parts = [
        _compare(float64(output[some]), float64(reference[some]), logits) for some in positions_at_once(len(output))
    ]
    return torch.cat(parts).cpu().numpy()


def _compare(y_q: torch.Tensor, y: torch.Tensor, logits: bool) -> torch.Tensor:
    signal, noise = y.square().sum(dim=1), (y_q - y).square().sum(dim=1)
    norms = y.norm(dim=1) * y_q.norm(dim=1)
    equal = (noise == 0).double()  # two zero vectors are alike
    cosine = torch.where(norms > 0, (y * y_q).sum(dim=1) / norms.clamp_min(torch.finfo(y.dtype).tiny), equal)
    columns = [signal, noise, cosine.where(~norms.isnan(), norms), torch.ones_like(signal)]
    if logits:
        log_p, log_q = y.log_softmax(dim=1), y_q.log_softmax(dim=1)
        agree = (y.argmax(dim=1) == y_q.argmax(dim=1)) & y_q.isfinite().all(dim=1)
        columns += [kl_divergence(log_p, log_q), agree.double()]
    return torch.stack(columns, dim=1)


def _sqnr_db(statistics: Array, counts: Array) -> Array:
    if not np.isfinite(statistics[:, _SIGNAL]).all():
        raise InputError(
            "the float network's outputs hold NaN or infinity on these samples, so that a ratio of signal to noise is "
            "undefined; give samples on which they are finite, or judge another output"
        )
    if not statistics[:, _SIGNAL].any():
        raise InputError(
            "the float network's outputs are all 0 on these samples, so that a ratio of signal to noise is undefined; "
            "give samples= that it responds to, or look at its weights"
        )
    return sqnr_of(_SIGNAL, _NOISE)(statistics, counts)


_COSINE_MEASURE = MeasureKind(
    name="cosine",
    unit="",
    higher_is_better=True,
    score=mean_of(_COSINE, weight=_POSITIONS),
    beside=True,
    bounds=(-1.0, 1.0),
)
_DISAGREES = tuple(float(column == _POSITIONS) for column in range(6))
_AGREES = tuple(float(column in (_POSITIONS, _AGREEMENT)) for column in range(6))
_LOGIT_MEASURES = (
    divergence(_KL, weight=_POSITIONS),
    MeasureKind(
        name="top-1 agreement",
        unit="%",
        higher_is_better=True,
        score=mean_of(_AGREEMENT, weight=_POSITIONS, scale=100.0),
        beside=True,
        bounds=(0.0, 100.0),
    ),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fidelity:
    """Closeness to the float network; `collect` needs the float output as `reference`.

    Attributes
    ----------
    kind : str
        Of the network it was made for.
    count : int
        Images, sentences, windows or inputs.
    window : int
        Tokens per window of a language model.
    seed : int
        Of the samples.
    axis : int or None
        Of the output, along which samples lie; None: a run is one sample.
    independent : tuple of str or None
        As in `Task`.
    own : OwnInputs or None
        What is known of the inputs of a network that brings its own.
    given : Samples or None
        The caller's samples, instead of those that are always there.
    calibrated : Samples, tuple of str or None
        What to calibrate on, or sources of it, instead of those that are always there.
    """

    kind: str
    count: int
    window: int
    seed: int
    tested_on: str
    axis: int | None = 0
    independent: tuple[str, str] | None = None
    own: OwnInputs | None = dataclasses.field(default=None, repr=False, compare=False)
    given: Samples | None = dataclasses.field(default=None, repr=False, compare=False)
    calibrated: Samples | tuple[str, ...] | None = dataclasses.field(default=None, repr=False, compare=False)
    name: str = "fidelity"
    metric: str = SQNR
    unit: str = "dB"
    higher_is_better: bool = True
    needs_reference: bool = True
    repeatable: bool = True
    ratio: bool = True
    bounds: Bounds = ANYTHING
    score: ScoreFunction = _sqnr_db

    @property
    def samples(self) -> int:
        """How many tokens, or images, sentences or inputs."""
        return self.count * self.window if self.kind == "language" and self.given is None else self.count

    @property
    def sample_unit(self) -> str:
        """What `samples` counts."""
        if self.given is None and self.kind not in _UNITS:
            return f"tokens in {counted(self.count, 'window')} of {self.window}"
        one, several = _UNITS[self.kind] if self.given is None else _GIVEN[self.axis is not None]
        return one if self.samples == 1 else several

    @property
    def further(self) -> tuple[MeasureKind, ...]:
        """KL divergence and agreement where outputs are logits, and cosine."""
        return (*_LOGIT_MEASURES, _COSINE_MEASURE) if self._logits else (_COSINE_MEASURE,)

    @property
    def counted(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """A position whose largest logit is another than in float, and one where it is the same."""
        return (_DISAGREES, _AGREES) if self._logits else None

    @property
    def _logits(self) -> bool:
        return self.kind in {"image", "language"}

    def batches(self, network: Network, *, batch_size: int | None = None) -> Iterator[TaskBatch]:
        """The samples, made as they are needed."""
        if network.kind != self.kind:
            raise InputError(f"this task was made for a network of kind {self.kind}; {network.name} is {network.kind}")
        if self.given is not None:
            return self._given_batches(network, self.given)
        own = self.own if self.own is not None and self.own.module is network.module else None
        made = default_batches(network, count=self.count, seed=self.seed, test=True, batch_size=batch_size, own=own)
        return self._own_batches(network, made)

    def _given_batches(self, network: Network, given: Samples) -> Iterator[TaskBatch]:
        """The caller's: every sample is a unit, however many rows it has."""
        axes, start = axes_of(network), 0
        for inputs in given.batches:
            count = 1 if axes is None else axes.size(inputs)
            yield TaskBatch(inputs=inputs, units=np.arange(start, start + count))
            start += count

    def _own_batches(self, network: Network, made: Iterator[Batch]) -> Iterator[TaskBatch]:
        """Those that are always there, with the units that are known of them."""
        known = None if self.independent is None else default_units(network, count=self.count, seed=self.seed)
        together, start = TOGETHER if self.kind == "language" else None, 0
        for inputs in made:
            end = start + len(next(iter(inputs.values()))) if known is not None else start
            units = np.empty(0) if known is None else known[start:end]
            yield TaskBatch(inputs=inputs, units=units, together=together)
            start = end

    def collect(self, batch: TaskBatch, output: torch.Tensor, reference: torch.Tensor) -> Array:
        """Rows (signal, noise, cosine, positions[, KL, agreement]), sums over positions.

        Outputs are [B, ..., C] for language and sentences, [B, C] or [B, C, H, W] logits for images, and anything
        for other modules: samples lie along `axis`, or the output is one sample's.
        """
        del batch
        if output.shape != reference.shape:
            raise InputError(f"the outputs differ in shape: {[*output.shape]} and {[*reference.shape]} in float")
        if not output.numel():
            raise InputError(f"the network's output is empty ({[*output.shape]}); give inputs that it answers to")
        if self.kind == "image" and output.ndim == 4:
            output, reference = output.movedim(1, -1), reference.movedim(1, -1)
        samples = zip(self._each(output), self._each(reference), strict=True)
        return np.concatenate([self._sample(y_q, y) for y_q, y in samples])

    def _each(self, output: torch.Tensor) -> torch.Tensor:
        """The output with its samples along axis 0."""
        output = torch.view_as_real(output) if output.is_complex() else output
        return output[None] if self.axis is None else output.movedim(self.axis, 0)

    def _sample(self, output: torch.Tensor, reference: torch.Tensor) -> Array:
        """The rows of one sample."""
        width = output.shape[-1] if self._logits else max(1, output.numel())
        statistics = compare_positions(output.reshape(-1, width), reference.reshape(-1, width), logits=self._logits)
        return block_sums(statistics[None], **({} if self.kind == "language" else {"block": len(statistics)}))

    def calibration(self, network: Network, *, count: int, seed: int) -> Samples:
        """The calibration part of the same sources: other photographs, other prose, other noise."""
        return calibration_of(self.calibrated, network, count=count, seed=seed)
