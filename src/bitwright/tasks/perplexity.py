"""Perplexity of a language model on a text: exp of the mean negative log likelihood per predicted token.

The text is tokenised whole and cut into windows that do not overlap, read from its start. Each window is predicted
on its own, so its first token is not predicted. Statistics: one row (sum of negative log likelihoods in nats,
tokens, signal, noise, sum of KL divergences) per block of 32 tokens.

Independent are documents, where what is read has at least 8 of them by headings as WikiText has (` = Title = ` on a
line of its own); a block is of the document that its first token is in, by the tokens of each document alone. Else
it is blocks of 128 tokens, and an interval then speaks of texts like the one that is read. Both are our choice.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bitwright.errors import InputError
from bitwright.files import read_text
from bitwright.later import torch
from bitwright.networks.network import Network
from bitwright.tasks.blocks import BLOCK, TOGETHER, block_sums, divergences, float64, named, positions_at_once, powers
from bitwright.tasks.inputs import token_ids, window_inputs, window_length
from bitwright.tasks.samples import Samples, calibration_of
from bitwright.tasks.statistics import Array, Bounds, ScoreFunction
from bitwright.tasks.task import MeasureKind, TaskBatch, divergence, sqnr_beside
from bitwright.words import counted

DEFAULT_TOKENS = 2048
LEAST_DOCUMENTS = 8
_HEADING = re.compile(r"^ *= [^=\n][^\n]*[^=\n] = *$", re.MULTILINE)


def perplexity(*, network: Network, data: Path, limit: int | None = None, window: int | None = None) -> Perplexity:
    """The task on the first `limit` tokens (2,048 by default) of a text file.

    Parameters
    ----------
    network : Network
        Whose tokenizer cuts the text, and whose `sequence_length` is the window unless `window` is given.
    data : Path
        UTF-8 text.
    limit : int or None
        Tokens, rounded down to whole windows.
    window : int or None
        Tokens per window; at most the limit and the text's length.

    Raises
    ------
    InputError
        For a file that cannot be read as text or has less than two tokens, and a limit below two.
    """
    text = read_text(data, what="text")
    ids = token_ids(network, text)
    tokens = min(limit if limit is not None else DEFAULT_TOKENS, len(ids))
    length = min(window if window is not None else window_length(network), tokens)
    if length < 2:
        raise InputError(
            f"perplexity needs windows of at least 2 tokens; here they have {length} "
            f"({data.name} has {counted(len(ids), 'token')}, the limit is {DEFAULT_TOKENS if limit is None else limit})"
        )
    windows = ids[: tokens // length * length].reshape(-1, length)
    return Perplexity(
        windows=windows,
        tested_on=f"the first {windows.size} of {counted(len(ids), 'token')} of {data.name}",
        documents=_documents(network, text, windows),
    )


def _documents(network: Network, text: str, windows: Array) -> Array | None:
    """The document [n, blocks] that each block of windows [n, T] is of; None where there are few."""
    starts = [match.start() for match in _HEADING.finditer(text)]
    first, tokens = [0], 0  # token that each document begins at: what is before the first heading is one
    for start, end in zip([0, *starts], [*starts, len(text)], strict=True):
        tokens += len(token_ids(network, text[start:end])) if text[start:end].strip() else 0
        if tokens >= windows.size:
            break
        if tokens > first[-1]:
            first.append(tokens)
    begins = np.arange(len(windows))[:, None] * windows.shape[1] + np.arange(0, windows.shape[1] - 1, BLOCK)
    found = np.searchsorted(first, begins, side="right") - 1
    return found if len(np.unique(found)) >= LEAST_DOCUMENTS else None


def negative_log_likelihood(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Nats per target: logits [T, vocabulary] and target ids [T] give [T] in float64."""
    parts = []
    for some in positions_at_once(len(targets)):
        values = float64(logits[some])
        chosen = values.gather(1, targets[some].to(values.device)[:, None])[:, 0]
        parts.append(torch.logsumexp(values, dim=1) - chosen)
    return torch.cat(parts)


def _perplexity(statistics: Array, counts: Array) -> Array:
    return np.exp((counts @ statistics[:, 0]) / (counts @ statistics[:, 1]))


def _ratio(statistics: Array, counts: Array) -> Array:
    own = statistics.shape[1] // 2
    return _perplexity(statistics[:, :own], counts) / _perplexity(statistics[:, own:], counts)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Perplexity:
    """Perplexity on the token windows [n, T] of a text; `documents` [n, blocks] are those of blocks, where known."""

    windows: Array
    tested_on: str
    documents: Array | None = None
    name: str = "perplexity"
    metric: str = "perplexity"
    unit: str = ""
    higher_is_better: bool = False
    needs_reference: bool = False
    repeatable: bool = True
    ratio: bool = True
    score: ScoreFunction = _perplexity
    further: tuple[MeasureKind, ...] = (
        MeasureKind(
            name="ratio to the float network's", unit="", higher_is_better=False, score=_ratio, bounds=(0.0, np.inf)
        ),
        sqnr_beside(2, 3),
        divergence(4, weight=1),
    )
    bounds: Bounds = (0.0, np.inf)
    counted: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    calibrated: Samples | tuple[str, ...] | None = dataclasses.field(default=None, repr=False)

    @property
    def samples(self) -> int:
        """How many tokens."""
        return int(self.windows.size)

    @property
    def sample_unit(self) -> str:
        """Tokens, in which windows."""
        return f"tokens in {counted(len(self.windows), 'window')} of {self.windows.shape[1]}"

    @property
    def independent(self) -> tuple[str, str] | None:
        """Documents, or blocks of tokens."""
        return named(self.windows.shape[1]) if self.documents is None else ("document", "documents")

    def batches(self, network: Network, *, batch_size: int | None = None) -> Iterator[TaskBatch]:
        """Windows in the text's order, one at once by default."""
        size = batch_size or 1
        for start in range(0, len(self.windows), size):
            some = slice(start, start + size)
            windows, inputs = self.windows[some], window_inputs(network, self.windows[some])
            if self.documents is None:
                units = np.arange(start, start + len(windows))
                yield TaskBatch(inputs=inputs, labels=windows, units=units, together=TOGETHER)
            else:
                yield TaskBatch(inputs=inputs, labels=windows, units=self.documents[some].ravel())

    def collect(self, batch: TaskBatch, output: torch.Tensor, reference: torch.Tensor) -> Array:
        """Rows (nats, tokens, signal, noise, KL) per block, from logits [B, T, vocabulary]."""
        if output.ndim != 3 or output.shape[:2] != batch.labels.shape:
            raise InputError(f"perplexity needs logits [B, T, vocabulary]; the network's output is {[*output.shape]}")
        if batch.labels.max() >= output.shape[2]:
            raise InputError(
                f"the text has the token id {batch.labels.max()}, but the network's logits are for {output.shape[2]}; "
                "give it the tokenizer that it was trained with"
            )
        targets = torch.from_numpy(np.ascontiguousarray(batch.labels))[:, 1:]
        nats = [negative_log_likelihood(output[i, :-1], targets[i]).cpu().numpy() for i in range(len(output))]
        pairs = [(output[i, :-1], reference[i, :-1]) for i in range(len(output))]
        of_logits = np.stack([np.hstack([powers(*pair), divergences(*pair)]) for pair in pairs])
        return block_sums(np.concatenate([np.stack([np.stack(nats), np.ones(targets.shape)], axis=2), of_logits], 2))

    def calibration(self, network: Network, *, count: int, seed: int) -> Samples:
        """Windows of the standard library's prose: none of the test text."""
        return calibration_of(self.calibrated, network, count=count, seed=seed)
