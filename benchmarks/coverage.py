"""Which networks bitwright reads, and how much of them: every architecture of `architectures/`, one after the other.

    python benchmarks/coverage.py [--only GLOB] [--accuracy] [--json FILE] [--page docs/coverage.md] [--jobs N]

Each architecture is loaded as a user's module is, and traced on its own example. The multiply-accumulates of its sites
and of what is listed beside them with a reason must add up to what `counter.py`, which knows nothing of bitwright,
counts in the plain module. With `--accuracy`, int8 is calibrated on that example and run: exact against fast execution
of the same codes in steps of the accumulator ("off by"), and the output against the float network's in dB. Seconds
are bitwright's alone: loading, tracing, calibrating, running; kernels are compiled before the first is timed.

Exits with 1 where a network is not accounted for, off by more than 0, ends in a traceback, or takes over 20 s, or where
fewer than 97 % of the networks are wholly in sites.
"""

import argparse
import concurrent.futures
import contextlib
import dataclasses
import fnmatch
import json
import math
import multiprocessing
import signal
import sys
import textwrap
import time
import types
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

if __name__ == "coverage":  # beside it, other benchmarks' numba looks for the package of that name
    raise ImportError("this is a benchmark, and not the package `coverage`")
HERE = Path(__file__).parent
if sys.path[0] == str(HERE):  # where `coverage` would be this file, and not the package that numba looks for
    sys.path[0] = str(HERE.parent)

import torch
from benchmarks.architectures import SKIPPED, Architecture, every_architecture
from benchmarks.counter import Count, count

from bitwright.errors import BitwrightError
from bitwright.methods.executor import Executor
from bitwright.methods.protocol import compose
from bitwright.networks.counting import FOURIER, SOLVER
from bitwright.networks.load import load
from bitwright.networks.network import InputShape
from bitwright.networks.sites import OFFLINE
from bitwright.networks.trace import trace

UNDER_TEST = "architecture_under_test"
SLOW, STOPPED = 20, 60  # seconds
SHARE_WHOLE = 0.97


BEYOND = (FOURIER, SOLVER)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """What bitwright makes of one network.

    Attributes
    ----------
    in_sites : int
        Multiply-accumulates of its sites.
    listed : mapping
        "operator: reason" -> multiply-accumulates of products that are no sites.
    offline : int
        Those of products of parameters alone, which no inference computes.
    beyond : int
        Those of Fourier transforms and solvers, which are no matrix products, and which the counter does not count.
    off_by : int or None
        The largest difference of exact from fast int8, in accumulator steps; None where that was not asked for.
    sqnr_db : float or None
        int8's output against the float network's.
    """

    in_sites: int
    listed: Mapping[str, int]
    offline: int = 0
    beyond: int = 0
    off_by: int | None = None
    sqnr_db: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One architecture: what the counter counted, what bitwright found, in how many seconds, or how it failed."""

    name: str
    family: str
    counted: Count
    found: Found | None
    seconds: float
    error: str = ""
    refused: bool = False  # by a sentence of bitwright's own, no traceback

    @property
    def accounted(self) -> bool:
        """Whether sites and what is listed are all that was counted."""
        if self.found is None:
            return False
        listed = sum(self.found.listed.values()) - self.found.beyond
        return self.found.in_sites + listed == self.counted.total

    @property
    def whole(self) -> bool:
        """Whether every product of real numbers with something to reduce is a site, or known before any inference."""
        if self.found is None or self.found.beyond:
            return False
        return self.accounted and self.found.in_sites + self.found.offline >= self.counted.macs

    @property
    def traceback(self) -> bool:
        """Whether it ended in an exception that is none of bitwright's sentences."""
        return bool(self.error) and not self.refused


def examined(name: str, *, accuracy: bool) -> Found:
    """What bitwright makes of the network that a Python path names: all that this benchmark asks of it."""
    network = load(name)
    assert network.example is not None
    batch = network.example(InputShape())
    traced = trace(network, batch)
    listed: Counter[str] = Counter()
    for other in traced.others:
        if other.macs:
            listed[f"{other.name}: {other.reason}"] += other.macs
    found = Found(
        in_sites=traced.macs,
        listed=dict(listed),
        offline=sum(other.macs for other in traced.others if other.reason == OFFLINE),
        beyond=sum(other.macs for other in traced.others if other.reason in BEYOND),
    )
    if not accuracy:
        return found
    plan = compose("int8", {"smoothing": "none"}).calibrate(network, [batch])
    with torch.no_grad():
        executor = Executor(network, plan)
        off_by = executor.audit(batch)
        sqnr_db = _sqnr_db(network.forward(batch), executor.run(batch))
    return dataclasses.replace(found, off_by=off_by, sqnr_db=sqnr_db)


def measure(architecture: Architecture, *, accuracy: bool) -> Row:
    """One row of the table; bitwright has `STOPPED` seconds for it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations of torch's and transformers' own
        module, inputs = architecture.build()
        counted = count(module, inputs)
        sys.modules[UNDER_TEST] = under_test = types.ModuleType(UNDER_TEST)
        anew = architecture.build()  # before the clock starts, and untouched by the counter
        under_test.made = lambda: anew  # type: ignore[attr-defined]
        found, error, refused = None, "", False
        start = time.perf_counter()
        try:
            with _stopped_after(STOPPED):
                found = examined(f"{UNDER_TEST}:made", accuracy=accuracy)
        except Exception as raised:
            first = (str(raised).strip() or "no message").splitlines()[0]
            refused = isinstance(raised, BitwrightError)
            error = first if refused else f"{type(raised).__name__}: {first}"
        seconds = time.perf_counter() - start
    return Row(
        name=architecture.name,
        family=architecture.family,
        counted=counted,
        found=found,
        seconds=seconds,
        error=error,
        refused=refused,
    )


@contextlib.contextmanager
def _stopped_after(seconds: int) -> Iterator[None]:
    """While active, a `TimeoutError` comes after so many seconds."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"stopped after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _sqnr_db(reference: torch.Tensor, found: torch.Tensor) -> float | None:
    """Signal by quantization noise, in dB; infinite where nothing differs, None for outputs of different shapes."""
    if reference.shape != found.shape:
        return None
    if reference.is_complex():
        reference, found = torch.view_as_real(reference), torch.view_as_real(found)
    noise = float((reference.double() - found.double()).square().sum())
    signal_power = float(reference.double().square().sum())
    return 10 * math.log10(signal_power / noise) if noise and signal_power else math.inf


def failures(rows: Sequence[Row]) -> list[str]:
    """What the benchmark exits with 1 for, one sentence each."""
    found = []
    for row in rows:
        if row.error:
            kind = "refused" if row.refused else "traceback"
            found.append(f"{row.name}: {kind}: {textwrap.shorten(row.error, 200, placeholder=' ...')}")
        elif not row.accounted:
            assert row.found is not None
            sums = f"{row.found.in_sites} in sites + {sum(row.found.listed.values())} listed"
            found.append(f"{row.name}: {sums} is not the {row.counted.total} that were counted")
        if row.found is not None and row.found.off_by:
            found.append(f"{row.name}: off by {row.found.off_by}")
        if row.seconds > SLOW:
            found.append(f"{row.name}: {row.seconds:.0f} s")
    share = sum(row.whole for row in rows) / len(rows)
    if share < SHARE_WHOLE:
        found.append(f"{share:.1%} of the networks are wholly in sites, at least {SHARE_WHOLE:.0%} are expected")
    return found


HEADINGS = ("architecture", "MACs", "in sites", "listed", "K = 1", "accounted", "whole", "off by", "dB", "s", "error")


def cells(row: Row) -> tuple[str, ...]:
    """A row as it is printed; MACs are the counter's, of products with something to reduce, and those without."""
    found = row.found
    yes = {True: "yes", False: "no"}
    return (
        row.name,
        f"{row.counted.macs:,}",
        "" if found is None else f"{found.in_sites:,}",
        "" if found is None else f"{sum(found.listed.values()):,}",
        f"{row.counted.outer + row.counted.integer:,}",
        yes[row.accounted],
        yes[row.whole],
        "" if found is None or found.off_by is None else str(found.off_by),
        "" if found is None or found.sqnr_db is None else f"{found.sqnr_db:.1f}",
        f"{row.seconds:.1f}",
        textwrap.shorten(row.error, 120, placeholder=" ..."),
    )


def summary(rows: Sequence[Row]) -> list[str]:
    """The benchmark's result in a few lines."""
    networks = len(rows)
    families = Counter(row.family for row in rows)
    audited = [row.found.off_by for row in rows if row.found is not None and row.found.off_by is not None]
    reasons: Counter[str] = Counter()
    for row in rows:
        reasons.update(row.found.listed if row.found else {})
    return [
        f"{networks} networks: " + ", ".join(f"{number} {family}" for family, number in families.items()),
        f"accounted for: {sum(row.accounted for row in rows)} of {networks}",
        f"wholly in sites: {sum(row.whole for row in rows)} of {networks}",
        f"exact int8 audited: {len(audited)}, off by 0: {sum(steps == 0 for steps in audited)}",
        f"tracebacks: {sum(row.traceback for row in rows)}, refused: {sum(row.refused for row in rows)}",
        f"slowest: {max(row.seconds for row in rows):.1f} s, all: {sum(row.seconds for row in rows):.0f} s",
        *(f"listed: {macs:,} MACs of {reason}" for reason, macs in reasons.most_common()),
    ]


def page(rows: Sequence[Row]) -> str:
    """The table as a page of the documentation."""
    lines = [
        "# Coverage",
        "",
        "Which architectures bitwright reads, and how much of each. Written by `benchmarks/coverage.py`; networks have",
        "small random weights. *MACs* are counted in the plain module by a counter that knows nothing of bitwright",
        "(`benchmarks/counter.py`); *K = 1* are multiplications of products with nothing to reduce, and products of",
        "integers, which need not be sites; nor need products of parameters alone, which are known before inference.",
        "Fourier transforms and solvers, which are no matrix products, are listed beside what was counted.",
        "A network is accounted for where the MACs in sites and those listed with a",
        "reason add up to all that were counted, and *whole* where every other product is a site. *Off by* is exact",
        "int8 against its fast emulation in accumulator steps, *dB* int8's output against the float network's.",
        "",
        *(f"- {line}" for line in summary(rows)),
    ]
    for family in dict.fromkeys(row.family for row in rows):
        lines += ["", f"## {family[0].upper()}{family[1:]}", "", f"| {' | '.join(HEADINGS)} |"]
        lines += ["|---" + "|--:" * 4 + "|---" * 2 + "|--:" * 3 + "|---|"]
        for row in rows:
            if row.family == family:
                lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells(row))} |")
    lines += ["", "## Not here", "", *(f"- {what}: {why}" for what, why in SKIPPED)]
    return "\n".join(lines) + "\n"


def record(row: Row) -> dict[str, Any]:
    """A row for JSON, which has no infinity."""
    if row.found is not None and row.found.sqnr_db is not None and math.isinf(row.found.sqnr_db):
        row = dataclasses.replace(row, found=dataclasses.replace(row.found, sqnr_db=None))
    return {**dataclasses.asdict(row), "accounted": row.accounted, "whole": row.whole, "traceback": row.traceback}


def chosen(only: str) -> list[Architecture]:
    """Architectures whose name, or family/name, the glob fits."""
    names = ((a, f"{a.family}/{a.name}") for a in every_architecture())
    return [a for a, path in names if fnmatch.fnmatch(a.name, only) or fnmatch.fnmatch(path, only)]


def _measure_named(path: str, accuracy: bool) -> Row:
    """In a process of its own, where an architecture comes by name."""
    torch.set_num_threads(1)
    _warm_up(accuracy=accuracy)
    return measure(next(a for a in every_architecture() if f"{a.family}/{a.name}" == path), accuracy=accuracy)


def _warm_up(*, accuracy: bool) -> None:
    """Compile bitwright's kernels, which the first network would be charged for."""
    if not sys.modules.get(UNDER_TEST):
        measure(next(a for a in every_architecture() if a.name == "Conv2d"), accuracy=accuracy)


def measured(architectures: Sequence[Architecture], *, accuracy: bool, jobs: int) -> Iterator[Row]:
    """A row for each, in order."""
    if jobs == 1:
        _warm_up(accuracy=accuracy)
        yield from (measure(architecture, accuracy=accuracy) for architecture in architectures)
        return
    paths = [f"{a.family}/{a.name}" for a in architectures]
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(jobs, mp_context=spawn) as pool:
        yield from pool.map(_measure_named, paths, [accuracy] * len(paths))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", metavar="GLOB", help="architectures by name, or by family/name")
    parser.add_argument("--accuracy", action="store_true", help="calibrate int8, audit it, and run it")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--page", type=Path, metavar="FILE")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    widths = (40, 12, 12, 10, 8, 9, 5, 6, 6, 5)
    print("  ".join(f"{heading:<{width}}" for heading, width in zip(HEADINGS, (*widths, 0), strict=True)))
    for row in measured(chosen(arguments.only), accuracy=arguments.accuracy, jobs=arguments.jobs):
        rows.append(row)
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(cells(row), (*widths, 0), strict=True)), flush=True)
    if not rows:
        parser.error(f"no architecture fits {arguments.only!r}")
    print(*summary(rows), sep="\n")
    if arguments.json:
        arguments.json.write_text(json.dumps([record(row) for row in rows], indent=1))
    if arguments.page:
        arguments.page.write_text(page(rows))
    wrong = failures(rows)
    print(*(f"FAILED {sentence}" for sentence in wrong), sep="\n")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
