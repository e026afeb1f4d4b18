"""Processes and what they leave: workers end with whoever leads, those that die are replaced, leftovers are cleared."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from tests.test_cli import heed_first

from bitwright import processes, scratch
from bitwright.errors import InputError
from bitwright.files import whole_folder, write_atomic
from bitwright.methods.lpq.search import workers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")

NETWORK = """
    import torch

    def layers():
        torch.manual_seed(0)
        module = torch.nn.Sequential(torch.nn.Linear(16, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
        module.example_inputs = torch.randn(2, 16)
        return module
"""
STUDY = """
    networks: [gemm:64x48x32]
    methods: [int8]
    accelerators: [systolic-ws]
    parameters: {rows: {from: 2, to: 40}, cols: {from: 2, to: 40}}
"""
SEARCH = (
    *("search", "layer_network:layers", "--save-plan", "plan", "--log", "log", "--workers", "2"),
    *("--calibration", "8", "--objective", "mse", "--set", "passes=100000"),
)
SECONDS = 60


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "layer_network.py").write_text(textwrap.dedent(NETWORK))
    (tmp_path / "study.yaml").write_text(textwrap.dedent(STUDY))
    (tmp_path / "tmp").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path


def parents():
    """By process, its parent; those that have ended are left out."""
    found = {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = place.read_text().rpartition(")")[2].split()[:2]
            if state not in "ZX":
                found[int(place.parent.name)] = int(parent)
    return found


def descendants(pid):
    above = parents()
    found, new = set(), {pid}
    while new:
        new = {child for child, parent in above.items() if parent in new} - found
        found |= new
    return found


def until(true):
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class TestLeader:
    @pytest.mark.parametrize("words", [SEARCH, ("sweep", "study.yaml", "--workers", "1")], ids=["search", "sweep"])
    def test_killed(self, here, words):
        """Its workers end at once, those that only start too, and the next run clears what was left."""
        if words[0] == "sweep":
            pytest.importorskip("distributed")
        command = [sys.executable, "-m", "bitwright", *words]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as leader:
            until(lambda: len(descendants(leader.pid)) > 1 or leader.poll() is not None)
            below = descendants(leader.pid)
            assert below
            leader.kill()
        until(lambda: not below & set(parents()))
        with scratch.folder() as folder:
            assert list((here / "tmp").iterdir()) == [folder]

    def test_interrupted_while_workers_start(self):
        """Ctrl-C of a terminal comes to all processes: workers that are not set up yet say nothing of it."""
        code = (
            "import os, signal\nfrom bitwright import processes\nfrom multiprocessing import get_context\n"
            "def work():\n    processes.begin()\n    os.write(1, b'begun')\n    signal.pause()\n"
            "process = get_context('fork').Process(target=work)\n"
            "with processes.starting():\n    os.kill(0, signal.SIGINT)\n    process.start()\n"
            "    os.read(os.pipe()[0], 1)\n"
        )
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [sys.executable, "-c", heed_first(code)]
        with subprocess.Popen(command, **pipes, start_new_session=True) as leader:
            assert os.read(leader.stdout.fileno(), 5) == b"begun"
            below = descendants(leader.pid)
            leader.kill()
            until(lambda: not below & set(parents()))
            assert leader.stderr.read() == b""

    @pytest.mark.parametrize("by_kernel", [True, False])
    def test_gone_before_the_worker_looked(self, monkeypatch, by_kernel):
        """The parent's parent is whoever takes in orphans: nobody tells of a death that was."""
        monkeypatch.setattr(processes, "_kernel_ends_it", lambda: by_kernel)
        context = multiprocessing.get_context("fork")
        read, write = os.pipe()

        def orphan():
            until(lambda: os.getppid() != multiprocessing.parent_process().pid)
            os.write(write, b"orphaned ")
            processes.begin()
            time.sleep(SECONDS)

        def parent():
            context.Process(target=orphan).start()
            os._exit(0)

        process = context.Process(target=parent)
        process.start()
        process.join()
        os.close(write)
        with os.fdopen(read, "rb") as stream:
            assert stream.read() == b"orphaned "  # to its end: nobody has it open any more

    def test_watched_by_a_thread(self, monkeypatch):
        """As where no kernel tells: the worker works, and ends with its parent."""
        monkeypatch.setattr(processes, "_kernel_ends_it", lambda: False)
        context = multiprocessing.get_context("fork")
        read, write = os.pipe()

        def child():
            processes.begin()
            os.write(write, b"%d\n" % os.getpid())
            time.sleep(SECONDS)

        def parent():
            context.Process(target=child).start()
            time.sleep(SECONDS)

        process = context.Process(target=parent)
        process.start()
        os.close(write)
        with os.fdopen(read, "rb") as stream:
            stream.readline()
            process.kill()
            process.join()
            assert stream.read() == b""


class Judge:
    """The loss of a candidate is its number; a file says when to die."""

    def __init__(self, folder, at_start=(), in_work=()):
        self.folder, self.in_work = folder, in_work
        self._maybe_die("start", at_start)

    def loss(self, candidate):
        self._maybe_die(f"work {candidate['n']}", self.in_work)
        return float(candidate["n"])

    def _maybe_die(self, when, deaths):
        for each in deaths:
            with contextlib.suppress(FileExistsError):
                (self.folder / f"{when} {each}").touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)


class TestWorkers:
    @pytest.mark.parametrize(("at_start", "in_work"), [((), ()), ((1,), ()), ((1, 2), ()), ((), (1,)), ((1,), (1,))])
    def test_that_die_are_replaced(self, tmp_path, at_start, in_work):
        """Every candidate kills who first judges it: the losses are the same, in order."""
        candidates = [{"n": n} for n in range(5)]
        with workers.judges(lambda: Judge(tmp_path, at_start, in_work), workers=2, forked=True) as losses:
            for _ in range(2):
                assert list(losses(candidates)) == [0.0, 1.0, 2.0, 3.0, 4.0]

    def test_that_die_again_and_again(self, tmp_path):
        always = Judge(tmp_path, in_work=range(99))
        with (
            workers.judges(lambda: always, workers=1, forked=True) as losses,
            pytest.raises(InputError, match="died 3 times in a row, most likely for lack of memory"),
        ):
            list(losses([{"n": 1}]))

    def test_that_cannot_begin(self):
        def make():
            raise InputError("no judge today")

        with workers.judges(make, workers=1, forked=True) as losses, pytest.raises(InputError, match="no judge today"):
            list(losses([{"n": 1}]))


LEAVING = """
    import os, signal, sys
    from pathlib import Path
    from bitwright import files, scratch
    place = Path(sys.argv[1])
    with scratch.folder(place) as folder, scratch.file_beside(place / "plan") as file:
        (folder / "inside").write_text("x")
        file.write_text("half")
        print("ready", flush=True)
        {end}
"""


def leave(place, end):
    code = textwrap.dedent(LEAVING.format(end=end))
    return subprocess.Popen(
        [sys.executable, "-c", heed_first(code), str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


class TestLeftovers:
    def test_of_a_process_that_was_killed(self, tmp_path):
        """They go when the next one writes there; what a process uses that lives stays."""
        with leave(tmp_path, "sys.stdin.read()") as alive:
            assert alive.stdout.readline() == "ready\n"  # before the other is killed, whose files it would clear
            with leave(tmp_path, "os.kill(os.getpid(), 9)") as killed:
                assert killed.stdout.readline() == "ready\n"
                killed.wait()
            assert len(list(tmp_path.iterdir())) == 4
            scratch._cleared.clear()
            write_atomic(tmp_path / "plan", b"whole")
            left = list(tmp_path.iterdir())
            assert len(left) == 3
            assert (tmp_path / "plan").read_bytes() == b"whole"
            alive.stdin.close()
            alive.wait()
        assert [each.name for each in tmp_path.iterdir()] == ["plan"]

    def test_of_a_process_that_ends_at_once(self, tmp_path):
        with leave(tmp_path, "scratch.remove_all(); os._exit(3)") as ended:
            assert ended.wait() == 3
        assert not list(tmp_path.iterdir())

    def test_nothing_of_others_is_touched(self, tmp_path):
        names = (".plan.0123456789ab", "plan.0123456789ab.bitwright-part", ".plan.short.bitwright-part", ".x.download")
        for name in names:
            (tmp_path / name).touch()
        (tmp_path / ".a.0123456789ab.bitwright-part").symlink_to(tmp_path / ".x.download")
        before = sorted(tmp_path.iterdir())
        scratch._cleared.clear()
        with scratch.file_beside(tmp_path / "plan"):
            assert len(list(tmp_path.iterdir())) == len(before) + 1
        assert sorted(tmp_path.iterdir()) == before

    def test_a_maker_whose_place_was_taken_makes_another(self, tmp_path, monkeypatch):
        """Between making and locking, somebody took it for a leftover."""
        made = []

        def held(place, *, wait):
            made.append(place)
            if len(made) == 1:
                place.unlink()
            return real(place, wait=wait)

        real = scratch._held
        monkeypatch.setattr(scratch, "_held", held)
        with scratch.file_beside(tmp_path / "plan") as file:
            assert file == made[1]
            assert file.is_file()
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("kind", ["file_beside", "folder_beside"])
    @pytest.mark.parametrize("moment", ["made", "removed"])
    def test_an_interrupt_as_it_is_made_or_removed(self, tmp_path, monkeypatch, kind, moment):
        """It comes when there is something already, or still; at the latest the end of the process takes it away."""
        names = {"made": ("touch", "mkdir"), "removed": ("unlink", "is_symlink")}[moment]
        name = names[kind == "folder_beside"]
        real = getattr(Path, name)

        def interrupted(place, *args, **more):
            monkeypatch.undo()
            if moment == "made":
                real(place, *args, **more)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):  # noqa: PT012
            scratch._clear(tmp_path)  # which looks at links too
            monkeypatch.setattr(Path, name, interrupted)
            with getattr(scratch, kind)(tmp_path / "x") as place:
                (place / "inside").touch() if place.is_dir() else place.write_text("half")
        assert len(list(tmp_path.iterdir())) == (moment == "removed")
        scratch.remove_all()
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("name", ["n" * 255, "ü" * 120, "a\nb", "-"])
    def test_any_name(self, tmp_path, name):
        write_atomic(tmp_path / name, b"whole")
        assert (tmp_path / name).read_bytes() == b"whole"
        assert [each.name for each in tmp_path.iterdir()] == [name]

    @pytest.mark.parametrize("exchange", [True, False])
    def test_folders_take_places(self, tmp_path, monkeypatch, exchange):
        if not exchange:
            monkeypatch.setattr("bitwright.files._exchanged", lambda one, other: False)
        for content in ("first", "second"):
            with whole_folder(tmp_path / "out", marker="content", overwrite=True) as folder:
                (folder / "content").write_text(content)
            assert (tmp_path / "out" / "content").read_text() == content
            assert [each.name for each in tmp_path.iterdir()] == ["out"]
        with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "out", marker="content", overwrite=True):
            raise KeyboardInterrupt
        assert (tmp_path / "out" / "content").read_text() == "second"
        assert [each.name for each in tmp_path.iterdir()] == ["out"]
