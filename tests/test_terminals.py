"""Names are whoever made them: whatever is printed, a terminal acts upon none of it, and no markup is read."""

import dataclasses
import inspect
import io
import json
import os
import textwrap

import pytest
from rich.console import Console
from tests.test_cli import RUNNER, app

import bitwright
from bitwright.cli import names, telling, working
from bitwright.methods.plan import Plan
from bitwright.reports.files import to_json
from bitwright.reports.tables import Column, print_fitting, say, table, text
from bitwright.shown import encodable

HOSTILE = (
    "a\x1b[2Jb",  # clears the screen
    "a\x1b]0;title\x07b",  # renames the window
    "a\x1b]8;;http://x\x1b\\b",  # a link
    "a\x9b31mb",  # the same of one character
    "a\rb",
    "a\bb",
    "a\x7fb",
    "a\u202eb",  # right to left
    "a\u2028b",
    "a\u200bb",
    "a\udcffb",  # a byte of a file's name that is no text
    "[red]a[/red]",
    "[link=http://x]a[/link]",
)
NETWORK = """
    import torch

    def layers():
        torch.manual_seed(0)
        module = torch.nn.Sequential()
        for i, name in enumerate({names!r}):
            module.add_module(name, torch.nn.Linear(4, 4))
        module.example_inputs = torch.randn(2, 4)
        return module
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    sites = [name for name in HOSTILE if "." not in name and name.isascii()]
    (tmp_path / "hostile_network.py").write_text(textwrap.dedent(NETWORK).format(names=sites), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    import sys

    sys.modules.pop("hostile_network", None)


def run(*arguments):
    shown = RUNNER.invoke(app, list(arguments))
    for stream in (shown.stdout, shown.stderr):
        assert all(each.isprintable() or each == "\n" for each in stream), repr(stream)
    return shown


class TestEdges:
    @pytest.mark.parametrize("name", HOSTILE)
    def test_tables_and_sentences(self, name):
        """On a terminal too, where rich writes sequences of its own."""
        for terminal in (False, True):
            file = io.StringIO()
            console = Console(file=file, force_terminal=terminal, color_system=None, width=200, highlight=False)
            console.print(table([text("site", [name]), Column(header=f"{name} [mm2]", cells=["1"])], title=name))
            print_fitting([text(name, [name])], [Column(header="cycles", cells=["2"])], console)
            say(console, f"{name} is said")
            assert all(each.isprintable() or each == "\n" for each in file.getvalue()), repr(file.getvalue())
            assert "red" not in name or "[red]a[/red]" in file.getvalue()

    def test_columns_stay_where_they_are(self):
        """Also beside a name whose characters take no room on the page until they are written out."""
        file = io.StringIO()
        console = Console(file=file, width=200)
        console.print(table([text("site", ["a\x1b[2Jb", "plain"]), text("end", ["|", "|"])]))
        assert len({line.index("|") for line in file.getvalue().splitlines() if "|" in line}) == 1

    @pytest.mark.parametrize("name", HOSTILE)
    def test_json_is_the_same_value(self, name):
        said = inspect.unwrap(to_json)("simulate", {"name": name, name: "é"})  # which is no record of simulate's
        assert all(each.isprintable() or each == "\n" for each in said)
        found = json.loads(said)
        assert found["name"] == encodable(name)  # halves of surrogate pairs are no text of JSON's
        assert list(found.values())[-1] == "é"
        assert "é" in said
        said.encode()

    def test_stderr(self, capsys):
        telling.tell(*HOSTILE)
        assert capsys.readouterr().err.splitlines()[0] == r"a\x1b[2Jb"

    def test_nobody_reads_stderr(self, monkeypatch):
        closed = io.StringIO()
        closed.close()
        monkeypatch.setattr("sys.stderr", closed)
        telling.tell("lost")

    def test_progress(self, monkeypatch, capsys):
        monkeypatch.setattr(working, "PATIENCE_SECONDS", 0.0)
        monkeypatch.setattr(working, "LOOK_EVERY_SECONDS", 0.01)
        with working.working() as progress:
            progress("calibrating (\x1b[2J)", 0, 3)
            progress.ended.wait(0.1)
        assert "\x1b" not in capsys.readouterr().err

    def test_completion(self, here):
        for name in ("a\x1b[2J.yaml", "fine.yaml"):
            (here / name).touch()
        assert names.substrates("") == ["common", "fine.yaml", "native"]


class TestCommands:
    @pytest.mark.parametrize("name", HOSTILE)
    def test_what_was_typed(self, here, name):
        """Unknown networks, methods, options and commands, files that are not there, settings and sites."""
        for words in (
            ["simulate", name],
            ["simulate", "gemm:8x8x8", "--method", name],
            ["simulate", "gemm:8x8x8", "--accelerator", name],
            ["simulate", "gemm:8x8x8", "--set", f"{name}=1"],
            ["simulate", "gemm:8x8x8", "--plan", name],
            ["simulate", "gemm:8x8x8", name],
            ["simulate", "gemm:8x8x8", f"--{name}"],
            ["explain", "gemm:8x8x8", "--site", name],
            ["methods", name],
            [name],
            [f"--{name}"],
        ):
            assert run(*words).exit_code == 2

    def test_files(self, here):
        """A workload and a result whose names are hostile."""
        name = "a\x1b[2J\u202e[red]b"
        (here / f"{name}.csv").write_text("Layer,M,N,K,\nfc\x1b[2J,8,8,8,\n")
        shown = run("simulate", f"{name}.csv", "--sites", "--out", f"{name}.json")
        assert shown.exit_code == 0, shown.stderr
        assert r"a\x1b[2J\u202e[red]b.json" in shown.stderr

    @pytest.mark.skipif(os.name == "nt", reason="names of files are text there")
    def test_a_name_that_is_no_text(self, here):
        path = os.fsencode(here) + b"/a\xff.csv"
        with open(path, "w") as file:  # noqa: PTH123
            file.write("Layer,M,N,K,\nfc,8,8,8,\n")
        for more in ((), ("--json",)):
            assert run("simulate", os.fsdecode(path), *more).exit_code == 0

    @pytest.mark.parametrize(
        "words", [("simulate", "--sites"), ("evaluate", "--sites", "--limit", "4"), ("nodes", "--wide"), ("explain",)]
    )
    def test_sites(self, here, words):
        for more in ((), ("--json",)):
            shown = run(words[0], "hostile_network:layers", *words[1:], *more)
            assert shown.exit_code == 0, shown.stderr
        assert "[red]a[/red]" in shown.stdout

    def test_plans(self, here):
        """What a plan says of itself: notes, samples, promises."""
        network = bitwright.load("hostile_network:layers")
        plan = bitwright.calibrate(network, "int8", count=4)
        name = "".join(each for each in HOSTILE if each.isascii())
        dataclasses.replace(plan, notes=(name,), calibrated_on=name).save(here / "plan")
        assert Plan.load(here / "plan", network).notes == (name,)
        shown = run("evaluate", "hostile_network:layers", "--plan", "plan", "--limit", "4")
        assert shown.exit_code == 0, shown.stderr
