"""What encoding and decoding by a table cost: against NumPy's ways to find a nearest value, and against a copy.

    python benchmarks/formats.py [--elements N] [--rounds N]

Prints, per format, medians of paired ratios on a float32 tensor of normal values: encoding, encoding with a scale, and
decoding by `torch.Tensor.clone` of the float32 tensor; and how many times longer than encoding a binary search by
`numpy.searchsorted` among the edges takes, and a search of the smallest |x - value| by `argmin`, on one element of 64.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from bitwright.formats import AdaptivFloat, Flint, LogPosit, Posit, PowerOfTwo, TableFormat

FORMATS: tuple[TableFormat, ...] = (
    LogPosit(n=8, es=2, rs=3),
    LogPosit(n=4, es=1, rs=2),
    LogPosit(n=2, es=0, rs=1),
    AdaptivFloat(bits=8),
    Flint(bits=4),
    PowerOfTwo(bits=4),
    Posit(n=8),
)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--elements", type=int, default=1 << 24)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    x = torch.randn(arguments.elements, generator=torch.Generator().manual_seed(0))
    print(f"{arguments.elements} elements, {torch.get_num_threads()} threads, {arguments.rounds} rounds")
    for fmt in FORMATS:
        measure(fmt, x, arguments.rounds)


if __name__ == "__main__":
    main()
