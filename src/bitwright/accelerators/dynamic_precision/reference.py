"""The scheduler once more, slowly and plainly: closed forms, the greedy steps, and cuts found by trying all.

Twin of `bitwright.accelerators.dynamic_precision.latency` and `bitwright.accelerators.dynamic_precision.scheduler`.
"""

import itertools
import math
from typing import NamedTuple

from bitwright.accelerators.dynamic_precision.latency import Form

Line = tuple[int, int]
"""Rows and columns of bit groups of the wide classes."""


class Product(NamedTuple):
    """Rows, columns and length of a product of four classes."""

    m_wide: int
    m_narrow: int
    n_wide: int
    n_narrow: int
    k: int
    runs: int = 1


def latency(form: Form, m: int, k: int, n: int, rows: int, cols: int, fx: int, fw: int, runs: int = 1) -> float:
    """Cycles of one part, but for what filling and draining takes once; infinite where there is work but no array."""
    if 0 in {m, k, n}:
        return 0
    if 0 in {rows, cols}:
        return math.inf
    skew = 0 if form in ("ws-double", "os-double", "ws-pipelined") else rows + cols - 2
    if form in ("os", "os-double"):
        folds, stream, exchanged = math.ceil(m / (rows * fx)) * math.ceil(n / (cols * fw)), k + runs * skew, runs * rows
        return folds * (stream if form == "os" else max(stream, exchanged))
    folds, stream, exchanged = math.ceil(k / (rows * fx)) * math.ceil(n / (cols * fw)), m + runs * skew, runs * rows
    return folds * (max(stream, exchanged) if form in ("ws-double", "ws-hidden") else stream + exchanged)


def latencies(form: Form, size: Line, product: Product, line: Line) -> list[float]:
    """Cycles of the four parts."""
    rows = ((product.m_wide, line[0], 1), (product.m_narrow, size[0] - line[0], 2))
    cols = ((product.n_wide, line[1], 1), (product.n_narrow, size[1] - line[1], 2))
    return [
        latency(form, m, product.k, n, part_rows, part_cols, fx, fw, product.runs)
        for m, part_rows, fx in rows
        for n, part_cols, fw in cols
    ]


def first_line(size: int, wide: int, narrow: int) -> int:
    """The closed-form cut of one axis."""
    if not wide:
        return 0
    if not narrow:
        return size
    return min(size - 1, max(1, math.floor(size * wide / (wide + narrow / 2) + 0.5)))


def greedy(form: Form, size: Line, product: Product) -> tuple[Line, int]:
    """Cuts that no step of 1, 2 or 4 along one of them, or of 1 along both, improves, and how many were tried."""
    lengths = (-4, -2, -1, 1, 2, 4)
    steps = [*((d, 0) for d in lengths), *((0, d) for d in lengths), *itertools.product((-1, 1), (-1, 1))]
    moves = [bool(product.m_wide and product.m_narrow), bool(product.n_wide and product.n_narrow)]

    def rank(line: Line) -> list[float]:
        return sorted(latencies(form, size, product, line), reverse=True)

    line = (
        first_line(size[0], product.m_wide, product.m_narrow),
        first_line(size[1], product.n_wide, product.n_narrow),
    )
    tried = int(any(moves))
    while True:
        near = [
            (line[0] + down, line[1] + across)
            for down, across in steps
            if not down or (moves[0] and 1 <= line[0] + down <= size[0] - 1)
            if not across or (moves[1] and 1 <= line[1] + across <= size[1] - 1)
        ]
        tried += len(near)
        best = min(near, key=rank, default=line)
        if rank(best) >= rank(line):
            return line, tried
        line = best


def best_line(form: Form, size: Line, product: Product) -> float:
    """Cycles of the best single cut of rows and of columns, found by trying all."""
    lines = itertools.product(range(size[0] + 1), range(size[1] + 1))
    return min(max(latencies(form, size, product, line)) for line in lines)


def best_broken_line(form: Form, size: Line, product: Product) -> float:
    """The same if columns were cut apart above and below the row line."""
    best = math.inf
    for row in range(size[0] + 1):
        halves = [latencies(form, size, product, (row, col)) for col in range(size[1] + 1)]
        above = min(max(each[:2]) for each in halves)
        below = min(max(each[2:]) for each in halves)
        best = min(best, max(above, below))
    return best
