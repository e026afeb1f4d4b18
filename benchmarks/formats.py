"""What encoding and decoding cost: by a table against NumPy's ways to find a nearest value, in blocks against a copy.

    python benchmarks/formats.py [--elements N] [--rounds N]

Prints, per format, medians of paired ratios on a float32 tensor of normal values: encoding, encoding with a scale, and
decoding by `torch.Tensor.clone` of the float32 tensor; and how many times longer than encoding a binary search by
`numpy.searchsorted` among the edges takes, and a search of the smallest |x - value| by `argmin`, on one element of 64.
Then, per format in blocks, encoding with scales found on the way by the same copy, rows of 2,048; and how many of a
million float32 patterns and of a million normal values each minifloat converts otherwise than ml_dtypes.
"""

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable

import ml_dtypes
import numpy as np
import torch

from bitwright.formats import (
    BLOCK_FORMATS,
    E2M1,
    E2M3,
    E3M2,
    E4M3,
    E5M2,
    AdaptivFloat,
    Flint,
    LogPosit,
    Posit,
    PowerOfTwo,
    TableFormat,
)

FORMATS: tuple[TableFormat, ...] = (
    LogPosit(n=8, es=2, rs=3),
    LogPosit(n=4, es=1, rs=2),
    LogPosit(n=2, es=0, rs=1),
    AdaptivFloat(bits=8),
    Flint(bits=4),
    PowerOfTwo(bits=4),
    Posit(n=8),
)
PEERS = {
    E4M3: ml_dtypes.float8_e4m3fn,
    E5M2: ml_dtypes.float8_e5m2,
    E2M3: ml_dtypes.float6_e2m3fn,
    E3M2: ml_dtypes.float6_e3m2fn,
    E2M1: ml_dtypes.float4_e2m1fn,
}
ROW = 2048
MILLION = 10**6
SHARE = 64  # of the elements, one is searched by trying every value
BLOCK = 4096


def try_every_value(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Places of the nearest values, in blocks that stay in the cache."""
    blocks = np.split(x, range(BLOCK, len(x), BLOCK))
    return np.concatenate([np.abs(block[:, None] - values).argmin(1).astype(np.uint8) for block in blocks])


def measure(fmt: TableFormat, x: torch.Tensor, rounds: int) -> None:
    lookup, scale = fmt.lookup(), torch.tensor(0.25)
    words = lookup.encode(x)
    edges, ordered = lookup.edges.numpy(), lookup.words.numpy()
    values = fmt.table()[~fmt.table().isnan()].unique().float().numpy()
    few = x[: len(x) // SHARE].numpy()
    runs: dict[str, Callable[[], object]] = {
        "copy": x.clone,
        "encode": lambda: lookup.encode(x),
        "encode, scaled": lambda: lookup.encode(x, scale),
        "decode": lambda: lookup.decode(words),
        "searchsorted": lambda: ordered[np.searchsorted(edges, x.numpy(), side="right")],
        "argmin": lambda: try_every_value(few, values),
    }
    assert torch.equal(words, torch.from_numpy(ordered[np.searchsorted(edges, x.numpy(), side="right")]))
    times: dict[str, list[float]] = {key: [] for key in runs}
    for i in range(rounds + 1):
        for key, run in runs.items():
            start = time.perf_counter()
            run()
            if i:  # the first round warms up
                times[key].append((time.perf_counter() - start) * (SHARE if key == "argmin" else 1))

    def ratio(one: str, other: str) -> float:
        return statistics.median(a / b for a, b in zip(times[one], times[other], strict=True))

    costs = ", ".join(f"{key} {ratio(key, 'copy'):.2f}x" for key in ("encode", "encode, scaled", "decode"))
    slower = ", ".join(f"{key} {ratio(key, 'encode'):.0f}x" for key in ("searchsorted", "argmin"))
    print(f"{fmt.name}: {costs} a copy ({statistics.median(times['copy']) * 1e3:.1f} ms); {slower} as long as encode")


def measure_blocks(x: torch.Tensor, rounds: int) -> None:
    """Paired with a copy, as above."""
    for name, fmt in BLOCK_FORMATS.items():
        tensor_scale = fmt.tensor_scale(x.abs().max())
        ratios = []
        for i in range(rounds + 1):
            start = time.perf_counter()
            x.clone()
            middle = time.perf_counter()
            fmt.encode(x, tensor_scale)
            if i:
                ratios.append((time.perf_counter() - middle) / (middle - start))
        print(f"{name}: encode {statistics.median(ratios):.2f}x a copy")


def convert_a_million() -> None:
    generator = np.random.default_rng(0)
    patterns = generator.integers(0, 2**32, MILLION, dtype=np.uint32).view(np.float32)
    for fmt, peer in PEERS.items():
        exact = dataclasses.replace(fmt, saturate=False)
        differ = 0
        normal = (generator.standard_normal(MILLION) * fmt.largest / 3).astype(np.float32)
        for x in (patterns[~np.isnan(patterns)], normal):
            differ += int((exact.encode(torch.from_numpy(x)).numpy() != x.astype(peer).view(np.uint8)).sum())
        print(f"{fmt.name}: {differ} of 2 x {MILLION:,} conversions differ from ml_dtypes {ml_dtypes.__version__}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--elements", type=int, default=1 << 24)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    x = torch.randn(arguments.elements, generator=torch.Generator().manual_seed(0))
    print(f"{arguments.elements} elements, {torch.get_num_threads()} threads, {arguments.rounds} rounds")
    for fmt in FORMATS:
        measure(fmt, x, arguments.rounds)
    measure_blocks(x[: len(x) // ROW * ROW].view(-1, ROW), arguments.rounds)
    convert_a_million()


if __name__ == "__main__":
    main()
