"""Semantic textual similarity: Spearman's rank correlation of cosine similarities with people's scores.

Reads STS benchmark's tab-separated form (Cer et al., SemEval 2017, task 1): genre, file, year, index, score from 0
to 5, sentence, sentence; without header or quoting. Statistics: one row (cosine, score, signal, noise) per pair. Pairs
are taken for independent of each other. A limit takes evenly spaced pairs, since the file is ordered by genre.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bitwright.errors import InputError
from bitwright.files import read_text
from bitwright.later import torch
from bitwright.networks.network import Network
from bitwright.tasks.blocks import float64, powers
from bitwright.tasks.inputs import sentence_inputs
from bitwright.tasks.samples import Samples, calibration_of
from bitwright.tasks.statistics import Array, Bounds, ScoreFunction, spearman
from bitwright.tasks.task import MeasureKind, TaskBatch, sqnr_beside
from bitwright.tasks.top1 import evenly_spaced
from bitwright.words import counted

_COLUMNS = "genre, file, year, index, score, sentence, sentence"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """Two sentences and how similar people found them, from 0 to 5."""

    score: float
    first: str
    second: str


def sts(*, data: Path, limit: int | None = None) -> Sts:
    """The task on the pairs of a tab-separated file, at most `limit` of them.

    Raises
    ------
    InputError
        For a file that cannot be read, a malformed line (by number), and a file with less than two pairs.
    """
    lines = read_text(data, what="file of pairs").split("\n")
    pairs = [_pair(line, f"{data.name} line {number}") for number, line in enumerate(lines, start=1) if line.strip()]
    chosen = [pairs[i] for i in evenly_spaced(len(pairs), limit)]
    if len(chosen) < 2:
        raise InputError(
            f"{data.name} has {counted(len(pairs), 'pair')}, the limit is {limit}; a rank correlation needs 2 pairs"
        )
    return Sts(
        pairs=tuple(chosen), tested_on=f"{len(chosen)} of the {counted(len(pairs), 'sentence pair')} in {data.name}"
    )


def _pair(line: str, where: str) -> Pair:
    fields = line.rstrip("\r").split("\t")
    if len(fields) < 7:
        raise InputError(f"{where} has {len(fields)} tab-separated fields; expected at least 7: {_COLUMNS}")
    try:
        score = float(fields[4])
    except ValueError:
        score = np.nan
    if not 0 <= score <= 5:
        raise InputError(f"{where} has the score {fields[4]!r} in its fifth field; expected a number from 0 to 5")
    first, second = fields[5].strip(), fields[6].strip()
    if not first or not second:
        raise InputError(f"{where} has an empty sentence; expected {_COLUMNS}")
    return Pair(score=score, first=first, second=second)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sts:
    """Rank correlation with people's judgement on pairs of sentences."""

    pairs: tuple[Pair, ...]
    tested_on: str
    name: str = "sts"
    metric: str = "Spearman"
    unit: str = ""
    higher_is_better: bool = True
    needs_reference: bool = False
    repeatable: bool = True
    ratio: bool = True
    score: ScoreFunction = spearman
    further: tuple[MeasureKind, ...] = (sqnr_beside(2, 3),)
    independent: tuple[str, str] | None = None
    bounds: Bounds = (-1.0, 1.0)
    counted: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    calibrated: Samples | tuple[str, ...] | None = dataclasses.field(default=None, repr=False, compare=False)

    @property
    def samples(self) -> int:
        """How many pairs, of which there are at least 2."""
        return len(self.pairs)

    @property
    def sample_unit(self) -> str:
        """What `samples` counts."""
        return "sentence pairs"

    def batches(self, network: Network, *, batch_size: int | None = None) -> Iterator[TaskBatch]:
        """Batches of B pairs (16 by default): 2B sentences, the first of every pair, then the second of every pair."""
        size = batch_size or 16
        for start in range(0, len(self.pairs), size):
            some = self.pairs[start : start + size]
            sentences = [pair.first for pair in some] + [pair.second for pair in some]
            scores = np.array([pair.score for pair in some])
            yield TaskBatch(inputs=sentence_inputs(network, sentences), labels=scores)

    def collect(self, batch: TaskBatch, output: torch.Tensor, reference: torch.Tensor) -> Array:
        """Rows (cosine, score, signal, noise) from embeddings [2B, D]; a pair's powers are those of both sentences."""
        if output.ndim != 2 or len(output) != 2 * len(batch.labels):
            raise InputError(f"sts needs one embedding per sentence [2B, D]; the network's output is {[*output.shape]}")
        first, second = float64(output).chunk(2)
        cosine = torch.nn.functional.cosine_similarity(first, second, dim=1)
        of_pairs = powers(output, reference).reshape(2, -1, 2).sum(axis=0)
        return np.hstack([np.stack([cosine.cpu().numpy(), batch.labels], axis=1), of_pairs])

    def calibration(self, network: Network, *, count: int, seed: int) -> Samples:
        """Sentences of the standard library's prose: none of the test sentences."""
        return calibration_of(self.calibrated, network, count=count, seed=seed)
