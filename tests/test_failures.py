"""What nobody foresaw: one sentence, a report, and no traceback unless it is asked for."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

import bitwright.cli.verbs
from bitwright.cli.app import app
from bitwright.cli.failures import FAILURES
from bitwright.cli.interrupts import INTERRUPTS
from bitwright.cli.main import main

RUNNER = CliRunner()


class UnspeakableError(Exception):
    """Its writer made a mistake in how it is written."""

    def __str__(self):
        raise ValueError("no text")


class OutsideError(BaseException):
    """Derived from what nobody catches."""


def deep(n):
    return deep(n + 1)


@pytest.fixture
def ended(monkeypatch, capsys, tmp_path):
    """Run the command line with a command that fails so; the exit code, stderr, and the report."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(INTERRUPTS, "heed", lambda: None)
    monkeypatch.setattr(FAILURES, "debug", False)

    def run(fails, *arguments):
        def command(**_):
            fails()

        monkeypatch.setattr(bitwright.cli.verbs, "app", command)
        monkeypatch.setattr(sys, "argv", ["/usr/bin/bitwright", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        found = [file.read_text() for file in tmp_path.glob("bitwright-*.txt")]
        return end.value.code, capsys.readouterr().err, found

    return run


def raising(error):
    def fails():
        raise error

    return fails


class TestUnforeseen:
    @pytest.mark.parametrize(
        ("error", "said"),
        [
            (ValueError("two\nlines \x1b[31mred"), r"ValueError: two lines \x1b[31mred;"),
            (KeyError("x"), "KeyError: 'x';"),
            (ZeroDivisionError(), "ZeroDivisionError;"),
            (UnspeakableError(), "UnspeakableError;"),
            (OutsideError("y"), "OutsideError: y;"),
            (GeneratorExit(), "GeneratorExit;"),
            (ValueError("long" * 5000), "longlong...;"),
        ],
    )
    def test_is_one_sentence_and_a_report(self, ended, error, said):
        code, err, reports = ended(raising(error), "simulate", "x")
        assert code == 1
        assert err.count("\n") == 1
        assert err.startswith("bitwright: this should not have happened: ")
        assert said in err
        assert len(err) < 1000
        (report,) = reports
        assert re.search(r"the report \S+/bitwright-\w+\.txt says where", err)
        assert report.startswith("bitwright simulate x\n")
        assert f"torch {__import__('torch').__version__.split('+')[0]}" in report
        assert "Traceback (most recent call last)" in report
        assert type(error).__name__ in report
        assert "test_failures.py" in report

    def test_recursion(self, ended):
        code, err, reports = ended(lambda: deep(0))
        assert (code, err.count("\n"), len(reports)) == (1, 1, 1)
        assert "RecursionError" in err

    def test_debug_shows_it(self, ended, monkeypatch):
        monkeypatch.setattr(FAILURES, "debug", True)
        code, err, reports = ended(raising(ValueError("x")))
        assert (code, len(reports)) == (1, 1)
        assert "Traceback (most recent call last)" in err
        assert err.splitlines()[-1].startswith("bitwright: this should not have happened: ValueError: x")

    def test_without_a_place_for_the_report(self, ended, monkeypatch):
        monkeypatch.setattr(tempfile, "tempdir", "/nowhere/at/all")
        code, err, reports = ended(raising(ValueError("x")))
        assert (code, reports) == (1, [])
        assert "no report could be written" in err

    def test_passwords_stay_out(self, ended):
        where = "postgresql://me:geheim@host/db?password=geheim2&x=1"
        code, err, (report,) = ended(raising(ValueError(f"no connection to {where}")), "sweep", "--store", where)
        assert code == 1
        assert "geheim" not in err + report
        assert "postgresql://me:***@host/db?password=***&x=1" in report

    def test_the_report_is_its_owner_s(self, ended, tmp_path):
        ended(raising(ValueError("x")))
        (file,) = tmp_path.glob("bitwright-*.txt")
        assert file.stat().st_mode & 0o077 == 0


class TestCodeThatIsGiven:
    """Networks, their modules, metrics and loaders may end the program, or try to."""

    @pytest.fixture(autouse=True)
    def theirs(self, tmp_path, monkeypatch):
        (tmp_path / "theirs.py").write_text(
            "import sys, torch\n"
            "x = torch.randn(4, 8)\n"
            "class Ends(torch.nn.Linear):\n"
            "    def forward(self, x):\n"
            "        raise self.how\n"
            "def ending(how):\n"
            "    module = Ends(8, 4); module.how = how; return module, x\n"
            "def exits(): sys.exit(0)\n"
            "def exits_with_words(): sys.exit('by\\x1b[2Je')\n"
            "def interrupts(): raise KeyboardInterrupt\n"
            "def forward_exits(): return ending(SystemExit(0))\n"
            "def forward_interrupts(): return ending(KeyboardInterrupt())\n"
            "def plain(): return torch.nn.Linear(8, 4), x\n"
            "def loader():\n"
            "    yield x, torch.zeros(4)\n"
            "    sys.exit(0)\n"
            "def samples(): return loader()\n"
            "def pairs(): return [(x, torch.zeros(4)) for _ in range(4)]\n"
            "def metric(output, labels): sys.exit(0)\n"
        )
        (tmp_path / "theirs_exits.py").write_text("import sys\nsys.exit(0)\n")
        (tmp_path / "theirs_interrupts.py").write_text("raise KeyboardInterrupt\n")
        monkeypatch.chdir(tmp_path)

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["simulate", "sys:exit"], "ended the program (exit code None)"),
            (["simulate", "theirs:exits"], "ended the program (exit code 0)"),
            (["simulate", "theirs:exits_with_words"], r"by\x1b[2Je"),
            (["simulate", "theirs:interrupts"], "KeyboardInterrupt"),
            (["simulate", "theirs:forward_exits"], "ended the program (exit code 0)"),
            (["simulate", "theirs:forward_interrupts"], "KeyboardInterrupt"),
            (["simulate", "theirs_exits:x"], "ended the program (exit code 0)"),
            (["simulate", "theirs_interrupts:x"], "KeyboardInterrupt"),
            (["evaluate", "theirs:plain", "--samples", "theirs:samples"], "ended the program (exit code 0)"),
            (["evaluate", "theirs:plain", "--samples", "theirs:exits"], "ended the program (exit code 0)"),
            (
                ["evaluate", "theirs:plain", "--data", "theirs:pairs", "--metric", "theirs:metric"],
                "ended the program (exit code 0)",
            ),
        ],
    )
    def test_that_ends_the_program(self, arguments, said):
        done = RUNNER.invoke(app, arguments)
        assert done.exit_code == 2, done.output
        last = done.stderr.splitlines()[-1]
        assert last.startswith("bitwright: ")
        assert said in last


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
class TestStreams:
    """Standard streams that are full or closed."""

    def run(self, shell):
        command = f"{sys.executable} -m bitwright {shell}"
        return subprocess.run(
            ["/bin/sh", "-c", command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )

    @pytest.mark.parametrize(
        ("shell", "code"),
        [("accelerators >&- 2>&-", 0), ("accelerators >&-", 0), ("simulate nothing-like-it 2>/dev/full", 2)],
    )
    def test_that_take_nothing(self, shell, code):
        done = self.run(shell)
        said = [line for line in done.stderr.splitlines() if "elapsed" not in line]
        assert (done.returncode, said) == (code, [])
