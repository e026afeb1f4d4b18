"""The campaign: so many kills of every verb at random moments, each command run again; what came of it, per verb.

    python -m tests.kill.campaign [--kills 100] [--scenes sweep,search] [--seed 0] [--fresh]

Each command runs once undisturbed. Then it is killed (SIGKILL, one in five SIGTERM), in a folder of its own: half of
them at a moment spread over the time it took, half at a file that it touches, before, during or just after. Then the
same command runs again, to its end. Asked is that nothing half-written has a final name, that nobody lives on after
five seconds, that what was stored is taken up as it is, and that files, rows and bytes are those of the undisturbed
run, without a leftover (`OTHERS` are not bitwright's). Exits with 1 where anything is not so.
"""

import argparse
import collections
import contextlib
import dataclasses
import fnmatch
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.kill import launch
from tests.kill.launch import Moment
from tests.kill.scenes import GIVEN, SCENES, Scene, contents

LIMIT_SECONDS = 300.0
TERMINATED = 143
PART = ".bitwright-part"
SIGTERM_SHARE = 0.2
MOST_LATE = 8  # kills in a row that came after the end
OTHERS = ("tmp/torchinductor_*", "tmp/dask-scratch-space/*")
"""What libraries leave on their own account: torch's folder, Dask's lock files."""
HEADS = ("kills", "SIGTERM", "the same", "stored", "taken up", "half", "leftovers", "orphans", "late")


@dataclasses.dataclass
class Undisturbed:
    """A scene as it ends when nothing happens: its files by name, how long it takes, and the files it touches."""

    files: dict[str, bytes]
    seconds: float
    events: int


class Figures:
    """Counts by verb, and what is wrong."""

    def __init__(self) -> None:
        self.counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        self.faults: list[str] = []

    def fault(self, scene: Scene, kind: str, moment: Moment | str, said: str) -> None:
        """Take up what may not be."""
        self.counts[scene.verb][kind] += 1
        self.faults.append(f"{scene.name}, {moment}: {kind}: {said}")
        print(self.faults[-1], file=sys.stderr, flush=True)

    def table(self) -> str:
        """A line per verb, and the sum."""
        every: collections.Counter[str] = collections.Counter()
        lines = [f"{'verb':<12}" + "".join(f"{head:>11}" for head in HEADS)]
        for verb, counts in self.counts.items():
            every += counts
            lines.append(_line(verb, counts))
        kills = every["kills"]
        return "\n".join(
            [*lines, _line("all", every), f"{every['the same']} of {kills} end in the same files and bytes"]
        )


def _line(name: str, counts: collections.Counter[str]) -> str:
    return f"{name:<12}" + "".join(f"{counts[head]:>11,}" for head in HEADS)


@contextlib.contextmanager
def folders() -> Iterator[Path]:
    """Folders for one command's work, temporary files and caches, with what it is given."""
    place = Path(tempfile.mkdtemp(prefix="kill-"))  # not TemporaryDirectory, which a forked process would remove
    try:
        for name in launch.FOLDERS:
            (place / name).mkdir()
        for name, text in GIVEN.items():
            (place / "work" / name).write_text(text)
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def everything(place: Path) -> dict[str, bytes]:
    """What a command leaves: all of its work, and names only of the rest."""
    found = {f"work/{name}": content for name, content in contents(place / "work").items()}
    for name in launch.FOLDERS[1:]:
        found |= {f"{name}/{each.relative_to(place / name)}": b"" for each in (place / name).rglob("*")}
    return {name: content for name, content in found.items() if not _is_of_others(name, place)}


def _is_of_others(name: str, place: Path) -> bool:
    others = any(fnmatch.fnmatch(name, each) or fnmatch.fnmatch(f"{name}/x", each) for each in OTHERS)
    return others or (not name.startswith("work/") and (place / name).is_dir())


def undisturbed(scene: Scene, *, fresh: bool) -> Undisturbed:
    """Run a scene twice, of which the first compiles what it needs; both have to end in the same bytes."""
    found: list[Undisturbed] = []
    for _ in range(2):
        with folders() as place:
            ended = launch.ran(scene.words, place, None, limit=LIMIT_SECONDS, fresh=fresh)
            if ended.code:
                raise SystemExit(f"{scene.name} ends with {ended.code}: {_said(place)}")
            found.append(Undisturbed(files=everything(place), seconds=ended.seconds, events=ended.events))
    difference = _difference(*(each.files for each in found))
    if difference:
        raise SystemExit(f"{scene.name} is not the same twice, undisturbed: {difference}")
    return found[-1]


def drawn(rng: random.Random, whole: Undisturbed) -> Moment:
    """A moment: anywhere in the life, or about a file that is touched, later ones as often as all before."""
    number = signal.SIGTERM if rng.random() < SIGTERM_SHARE else signal.SIGKILL
    if not whole.events or rng.random() < 0.5:
        return Moment(number=number, seconds=rng.uniform(0, whole.seconds))
    first = rng.choice((0, whole.events // 2))
    event = rng.randrange(first, whole.events)
    return Moment(
        number=number, event=event, seconds=None if rng.random() < 0.5 else rng.choice((0, rng.random() / 200))
    )


def killed(scene: Scene, whole: Undisturbed, rng: random.Random, figures: Figures, *, fresh: bool) -> None:
    """Kill a scene once, and look at what is left, now and after it ran again."""
    counts = figures.counts[scene.verb]
    for _ in range(MOST_LATE):
        moment = drawn(rng, whole)
        with folders() as place:
            ended = launch.ran(scene.words, place, moment, limit=LIMIT_SECONDS, fresh=fresh)
            if ended.code == 0:  # it came after the end
                counts["late"] += 1
                continue
            counts["kills"] += 1
            counts["SIGTERM"] += moment.number == signal.SIGTERM
            _look(scene, whole, moment, ended.code, place, figures)
            stored = scene.stored(place / "work")
            parts = sum(PART in name for name in everything(place))  # which the next one removes
            again = launch.ran(scene.words, place, None, limit=LIMIT_SECONDS, fresh=fresh)
            if again.code:
                figures.fault(scene, "failed", moment, f"the second run ends with {again.code}: {_said(place)}")
                return
            kept = again.events - parts < whole.events
            if scene.kept_at_end:
                kept = stored <= scene.stored(place / "work")
            _compare(scene, whole, moment, place, figures)
            counts["stored"] += bool(stored)
            counts["taken up"] += bool(stored) and kept
            if stored and not kept:
                figures.fault(scene, "lost", moment, f"{len(stored)} stored, {again.events} file events again")
            return
    figures.fault(scene, "failed", "at no moment", f"{MOST_LATE} kills in a row came after the end")


def _look(scene: Scene, whole: Undisturbed, moment: Moment, code: int, place: Path, figures: Figures) -> None:
    """What is wrong right after the kill."""
    lives = launch.orphans()
    if lives:
        figures.fault(scene, "orphans", moment, ", ".join(lives))
    expected = {-moment.number, TERMINATED} if moment.number == signal.SIGTERM else {-moment.number}
    if code not in expected:
        figures.fault(scene, "failed", moment, f"ended with {code}: {_said(place)}")
    if moment.number == signal.SIGTERM:
        left = sorted(name for name in everything(place) if PART in name)
        if left and code == TERMINATED:
            figures.fault(scene, "leftovers", moment, f"after SIGTERM: {left}")
        return  # what is finished is kept, and its plan is the best so far
    for name, content in contents(place / "work").items():
        final = whole.files.get(f"work/{name}")
        if final is not None and name not in scene.growing and content != final:
            figures.fault(scene, "half", moment, f"{name} has {len(content)} bytes, not {len(final)}")


def _compare(scene: Scene, whole: Undisturbed, moment: Moment, place: Path, figures: Figures) -> None:
    """What is wrong after the command ran again."""
    found = everything(place)
    left = sorted(found.keys() - whole.files.keys())
    if left:
        figures.fault(scene, "leftovers", moment, str(left))
    difference = _difference({name: each for name, each in found.items() if name not in left}, whole.files)
    if difference:
        figures.fault(scene, "differs", moment, difference)
    elif launch.orphans():
        figures.fault(scene, "orphans", moment, "after the second run")
    elif not left:
        figures.counts[scene.verb]["the same"] += 1


def _difference(one: dict[str, bytes], other: dict[str, bytes]) -> str:
    names = [name for name in sorted(one.keys() | other.keys()) if one.get(name) != other.get(name)]
    return ", ".join(
        f"{name} ({_length(one, name)}, {_length(other, name)}{_first(one.get(name, b''), other.get(name, b''))})"
        for name in names
    )


def _first(one: bytes, other: bytes) -> str:
    """The first lines that differ."""
    for lines in zip(one.split(b"\n"), other.split(b"\n"), strict=False):
        if lines[0] != lines[1]:
            return ": " + " and ".join(line[:100].decode(errors="backslashreplace").strip() for line in lines)
    return ""


def _length(files: dict[str, bytes], name: str) -> str:
    return f"{len(files[name]):,} bytes" if name in files else "not there"


def _said(place: Path) -> str:
    return " ".join((place / "stderr").read_text(errors="replace").split())[-400:]


def shares(scenes: Sequence[Scene], kills: int) -> list[int]:
    """How many kills of each, by their weights, `kills` in all."""
    whole, given, made = sum(scene.weight for scene in scenes), 0, []
    for i in range(len(scenes)):
        upto = kills * sum(each.weight for each in scenes[: i + 1]) // whole
        made.append(upto - given)
        given = upto
    return made


def run(scenes: Sequence[Scene], kills: int, seed: int, *, fresh: bool = False) -> Figures:
    """Kill `kills` commands, shared by the scenes' weights."""
    figures = Figures()
    launch.prepare()
    for scene, count in zip(scenes, shares(scenes, kills), strict=True):
        if not count:
            continue
        began = time.monotonic()
        whole = undisturbed(scene, fresh=fresh)
        for number in range(count):
            killed(scene, whole, random.Random(f"{seed} {scene.name} {number}"), figures, fresh=fresh)
        took = time.monotonic() - began
        told = f"{count} kills, {whole.seconds:.1f} s and {whole.events} file events undisturbed, {took:.0f} s"
        print(f"{scene.name}: {told}", file=sys.stderr, flush=True)
    return figures


def main() -> None:
    """Run the campaign as the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--scenes", default=",".join(SCENES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--fresh", action="store_true", help="a new interpreter each time, which takes four times as long"
    )
    given = parser.parse_args()
    done = run([SCENES[name] for name in given.scenes.split(",")], given.kills, given.seed, fresh=given.fresh)
    print(done.table())
    for fault in done.faults:
        print(fault)
    sys.exit(bool(done.faults))


if __name__ == "__main__":
    main()
