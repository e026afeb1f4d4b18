"""LPQ's search: candidates a second with reused prefixes, against whole passes and plain float passes, paired, medians.

python benchmarks/search.py [NETWORK ...] [--rounds N] [--samples N]

One thread, as each of a search's processes has. Candidates change one block after the other, from the last to the
first, six in each, as a pass of the search does.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from bitwright.methods.lpq.options import LpqOptions
from bitwright.methods.lpq.search import SearchSettings
from bitwright.methods.lpq.search.judge import Judge
from bitwright.methods.lpq.sites import Sites
from bitwright.methods.tabled.observe import observe_values
from bitwright.networks.blocks import chain_of
from bitwright.networks.fold import fold_batch_norm
from bitwright.networks.load import load
from bitwright.tasks import default_samples

WIDTHS = (4, 5, 7, 8, 4, 5)  # of a block's candidates in one iteration


def rates(name: str, samples: int, rounds: int) -> tuple[float, float, float, int, Callable[[], object]]:
    """Median seconds of a candidate, of one without reuse and of a float pass; blocks; and a round of candidates."""
    network = fold_batch_norm(load(name))
    batches = default_samples(network, count=samples).batches
    sites = Sites(observe_values(network, batches), LpqOptions())
    chain = chain_of(network, batches[0], list(sites.seen))
    judge = Judge(chain, sites, batches, SearchSettings())
    base = {layer: sites.least(layer, 6) for layer in sites.weighted}
    blocks: dict[int, list[str]] = {}
    for layer in sites.weighted:
        blocks.setdefault(chain.index[layer], []).append(layer)
    judge.loss(base)

    def candidates() -> None:
        for block in sorted(blocks, reverse=True):
            for width in WIDTHS:
                judge.loss({**base, **{layer: sites.least(layer, width) for layer in blocks[block]}})

    reused, whole = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        candidates()
        reused.append((time.perf_counter() - start) / (len(blocks) * len(WIDTHS)))
        start = time.perf_counter()
        judge.loss(base, whole=True)
        whole.append(time.perf_counter() - start)
    plain = []
    with torch.no_grad():
        for _ in range(rounds):
            start = time.perf_counter()
            for batch in batches:
                network.forward(batch)
            plain.append(time.perf_counter() - start)
    each, full, passed = (statistics.median(times) for times in (reused, whole, plain))
    return each, full, passed, len(blocks), candidates


def measure(name: str, samples: int, rounds: int) -> None:
    """Print one network's line."""
    each, full, passed, blocks, _ = rates(name, samples, rounds)
    print(
        f"{name:20s} {1 / each:.2f} candidates/s = {passed / each:.2f}x plain float passes ({1 / passed:.2f}/s), "
        f"{full / each:.2f}x candidates without reuse ({1 / full:.2f}/s); {samples} samples, {blocks} blocks"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=["efficientnet-lite0", "minilm-l6"])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--samples", type=int, default=16)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.networks:
        measure(name, arguments.samples, arguments.rounds)


if __name__ == "__main__":
    main()
