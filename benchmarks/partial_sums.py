"""One product with quantized partial sums against the plain int8 product, and against loops over tiles in torch.

    python benchmarks/partial_sums.py [--rounds N] [--rows M] [--columns N] [--tile PCI]

Codes are signed and of 8 bits, tiles of Pci = 8 elements, stored sums of 8 bits. Prints, for K = 768 and 3072 and
gs = 1, 2 and 4, medians of times that are paired in one run: the fused product in ms and by the plain one; and by the
fused one a loop that multiplies and quantizes whole matrices tile by tile, and ours, which works on blocks of rows.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from bitwright.formats import Integer, Quantized
from bitwright.methods.apsq.rule import Kind, PartialSums
from bitwright.methods.apsq.sums import fast_sums, sums
from bitwright.methods.products import integer_product
from bitwright.networks.view import GemmView

Run = Callable[[], torch.Tensor]

REDUCTIONS, GROUP_SIZES = (768, 3072), (1, 2, 4)


def operand(rows: int, k: int, seed: int) -> Quantized:
    codes = torch.randint(-127, 128, (rows, k), generator=torch.Generator().manual_seed(seed)).to(torch.int8)
    return Quantized(codes=codes, format=Integer(bits=8, narrow=True), scale=torch.ones(()))


def naive(x: Quantized, w: Quantized, rule: PartialSums) -> torch.Tensor:
    """The recurrence as one writes it down: whole matrices in float32, a tile at a time."""
    codes, weights = x.centred(), w.centred().t()
    tiles = rule.tiles(codes.shape[1])
    stored = torch.zeros(len(codes), weights.shape[1])
    for i, (scale, step) in enumerate(zip(rule.scales(tiles).tolist(), rule.additive(tiles), strict=True)):
        part = slice(i * rule.tile, (i + 1) * rule.tile)
        total = codes[:, part] @ weights[part]
        if step:
            total = total + stored
        kept = (total / scale + 0.5).floor().clamp(rule.low, rule.high) * scale
        stored = kept if step else stored + kept
    return stored


def measure(m: int, k: int, n: int, tile: int, group_size: int, rounds: int) -> None:
    x, w = operand(m, k, 0), operand(n, k, 1)
    view = GemmView(op="linear", x=x.codes, w=w.codes)
    tiles = -(-k // tile)
    scales = {"tile_scales": torch.full((tiles,), 2.0**8), "sum_scales": torch.full((tiles,), 2.0**12)}
    rule = PartialSums(kind=Kind.APSQ, tile=tile, group_size=group_size, **scales)
    runs: dict[str, Run] = {
        "plain": lambda: integer_product(view, x, w),
        "fused": lambda: sums(view, x, w, rule),
        "naive": lambda: naive(x, w, rule),
        "blocks": lambda: fast_sums(view, x, w, rule),
    }
    found = runs["fused"]()  # compiles
    assert torch.equal(found.float(), runs["naive"]())
    fused, plain = paired(runs["fused"], runs["plain"], rounds)
    loops = {key: paired(runs[key], runs["fused"], rounds)[1] for key in ("naive", "blocks")}
    print(
        f"[{m} x {k}] x [{k} x {n}], Pci {tile}, gs {group_size}: fused in {found.dtype} {1e3 * fused:.2f} ms = "
        f"{plain:.1f}x plain int8; naive loop {loops['naive']:.1f}x, by blocks of rows {loops['blocks']:.1f}x fused"
    )


def paired(run: Run, other: Run, rounds: int) -> tuple[float, float]:
    """Medians of the seconds that `run` takes, and of their ratios to those of `other` just after."""
    times = [(seconds(run), seconds(other)) for _ in range(rounds)]
    return statistics.median(a for a, _ in times), statistics.median(a / b for a, b in times)


def seconds(run: Run) -> float:
    run()  # the caches are as it leaves them
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--columns", type=int, default=768)
    parser.add_argument("--tile", type=int, default=8)
    arguments = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, {arguments.rounds} rounds")
    for k in REDUCTIONS:
        for group_size in GROUP_SIZES:
            measure(arguments.rows, k, arguments.columns, arguments.tile, group_size, arguments.rounds)


if __name__ == "__main__":
    main()
