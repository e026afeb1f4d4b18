"""The campaign: so many mutated cases of every kind of input, each watched; figures per kind, and what was found.

    python -m tests.fuzz.campaign [--cases 100000] [--kinds plan,log] [--seed 0] [--keep FOLDER]

Exits with 1 where there is a finding. A case is its kind and number: `--only KIND:NUMBER` runs it again, unguarded.
"""

import argparse
import collections
import os
import random
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.guards import Seen, bound_memory, watched
from tests.fuzz.kinds import KINDS, Kind

SHOWN = 3  # cases of one fault
HEADS = ("read", "refused", "traceback", "sentence", "hang", "memory", "code")


class Campaign:
    """Counts and findings of a run."""

    def __init__(self, keep: Path | None) -> None:
        self.keep = keep
        self.counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        self.longest: dict[str, float] = collections.defaultdict(float)
        self.faults: dict[str, list[str]] = collections.defaultdict(list)

    def add(self, kind: Kind, number: int, seen: Seen) -> None:
        """Take up how a case ended."""
        self.counts[kind.name][seen.kind] += 1
        self.longest[kind.name] = max(self.longest[kind.name], seen.seconds)
        if seen.is_finding:
            where = _where(seen.error)
            fault = f"{kind.name}: {seen.kind} {where or seen.said}"
            self.faults[fault].append(f"{kind.name}:{number} {seen.said}")
            if len(self.faults[fault]) == 1:
                print(f"{fault}: {seen.said}", file=sys.stderr, flush=True)

    def table(self) -> str:
        """A line per kind, and the sum."""
        lines = [f"{'kind':<16}{'cases':>9}" + "".join(f"{head:>11}" for head in HEADS) + f"{'longest':>10}"]
        every: collections.Counter[str] = collections.Counter()
        for name, counts in self.counts.items():
            every += counts
            lines.append(_line(name, counts) + f"{self.longest[name]:>8.2f} s")
        return "\n".join([*lines, _line("all", every)])


def _line(name: str, counts: collections.Counter[str]) -> str:
    return f"{name:<16}{counts.total():>9,}" + "".join(f"{counts[head]:>11,}" for head in HEADS)


def _where(error: BaseException | None) -> str:
    """The innermost lines of a traceback: ours, and whose it is."""
    if error is None:
        return ""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "/bitwright/" in f.filename]
    places = [*ours[-1:], *frames[-1:]]
    return f"{type(error).__name__} " + " < ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in places)


def run(kinds: Sequence[Kind], cases: int, seed: int, keep: Path | None = None, *, bounded: bool = True) -> Campaign:
    """Run about `cases` cases, shared by the kinds' weights."""
    made = Campaign(keep)
    whole = sum(kind.weight for kind in kinds)
    with tempfile.TemporaryDirectory() as temporary:
        before = Path.cwd()
        os.environ["XDG_CACHE_HOME"] = str(Path(temporary) / "cache")
        try:
            for kind in kinds:
                folder = Path(temporary) / kind.name
                folder.mkdir()
                os.chdir(folder)
                maker = kind.maker(folder)
                watched(maker(random.Random(0), plain=True))  # imports and compiles what the kind needs
                if bounded:
                    bound_memory()
                began = time.monotonic()
                for number in range(max(1, cases * kind.weight // whole)):
                    made.add(kind, number, watched(maker(random.Random(f"{seed} {number}"))))
                figures = _line(kind.name, made.counts[kind.name])
                print(f"{figures}{time.monotonic() - began:>8.0f} s", file=sys.stderr, flush=True)
        finally:
            os.chdir(before)
    return made


def main() -> None:
    """Run the campaign as the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="KIND:NUMBER")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    if given.only:
        name, number = given.only.split(":")
        with tempfile.TemporaryDirectory() as temporary:
            os.chdir(temporary)
            case = KINDS[name].maker(Path(temporary))(random.Random(f"{given.seed} {number}"))
            case()
        return
    done = run([KINDS[name] for name in given.kinds.split(",")], given.cases, given.seed)
    print(done.table())
    for fault, found in sorted(done.faults.items(), key=lambda each: -len(each[1])):
        print(f"\n{len(found)} x {fault}\n  " + "\n  ".join(found[:SHOWN]))
    sys.exit(bool(done.faults))


if __name__ == "__main__":
    main()
