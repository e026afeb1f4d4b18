"""A short run of the campaign (`make kill` is the long one), and that it finds what it is there for."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.kill import campaign, launch
from tests.kill.launch import Moment
from tests.kill.scenes import SCENES, Scene

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")

ROOT = Path(__file__).parents[2]


def test_killed_commands_end_as_undisturbed_ones():
    """Here of a quick verb; each is forked from a process that has computed nothing, as this one may have."""
    command = [sys.executable, "-m", "tests.kill.campaign", "--kills", "3", "--scenes", "timeloop"]
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 of 3 end in the same files and bytes" in done.stdout


def test_shares():
    """All of the kills, and each scene of the long run its own."""
    scenes = list(SCENES.values())
    assert sum(scene.weight for scene in scenes) == 100
    assert campaign.shares(scenes, 100) == [scene.weight for scene in scenes]
    for kills in (1, 7, 30):
        assert sum(campaign.shares(scenes, kills)) == kills


WHOLE = campaign.Undisturbed(files={"work/given": b"", "work/r": b"whole"}, seconds=1.0, events=9)


def test_moments_are_all_over_the_life():
    found = [campaign.drawn(random.Random(seed), WHOLE) for seed in range(400)]
    assert {each.number for each in found} == {signal.SIGKILL, signal.SIGTERM}
    assert {each.event for each in found} == {None, *range(9)}
    assert all(each.seconds is not None or each.event is not None for each in found)
    assert all(0 <= each.seconds <= 1 for each in found if each.event is None)


class Script:
    """A scene whose command is a function: what it does the first time, and the second."""

    def __init__(self, monkeypatch, first, second):
        self.scripts = iter([first, second])
        monkeypatch.setattr(launch, "ran", self.ran)
        monkeypatch.setattr(launch, "orphans", list)
        monkeypatch.setattr(campaign, "GIVEN", {"given": ""})

    def ran(self, words, place, moment, *, limit, fresh):
        (place / "stderr").touch()
        next(self.scripts)(place)
        return launch.Ended(code=0 if moment is None else -moment.number, seconds=0.1, events=9)


def writes(**files):
    def script(place):
        for name, text in files.items():
            (place / "work" / name).write_text(text)

    return script


KILL = Moment(seconds=0.5)


def logged(work):
    return set((work / "log").read_bytes().split()) if (work / "log").exists() else set()


SCENE = Scene(name="x", verb="x", weight=1, words=(), stored=logged)


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        (writes(), writes(r="whole"), None),
        (writes(r="whole"), writes(r="whole"), None),
        (writes(r="who"), writes(r="whole"), "half"),
        (writes(), writes(r="other"), "differs"),
        (writes(), writes(), "differs"),
        (writes(part="who"), writes(r="whole"), "leftovers"),
        (writes(log="a b"), writes(r="whole", log="b"), "lost"),
    ],
)
def test_what_it_finds(monkeypatch, first, second, kind):
    Script(monkeypatch, first, second)
    monkeypatch.setattr(campaign, "drawn", lambda *_: KILL)
    figures = campaign.Figures()
    campaign.killed(SCENE, WHOLE, random.Random(0), figures, fresh=False)
    kinds = {fault.split(": ")[1] for fault in figures.faults}
    assert (kind in kinds) if kind else not kinds
    assert figures.counts["x"]["the same"] == (kind in (None, "half"))


ORPHANING = """
import subprocess, sys
from tests.kill import launch
launch.NEEDED = ()
launch.prepare()
subprocess.Popen([sys.executable, "-c", "import subprocess; subprocess.Popen(['sleep', '300'])"]).wait()
launch.ORPHAN_SECONDS = 0.2
print(launch.orphans(), launch.orphans())
"""


def test_orphans_are_found_and_ended():
    done = subprocess.run([sys.executable, "-c", ORPHANING], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split()[1:] == ["sleep", "300", "']", "[]"], done.stdout
