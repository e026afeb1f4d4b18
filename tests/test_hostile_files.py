"""Files from strangers: functions that explode, data elsewhere, devices, hostile names, mutated tables and YAML."""

import contextlib
import itertools
import os
import random
import re
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from bitwright.cli.interrupts import INTERRUPTS, Interrupts
from bitwright.cli.main import app
from bitwright.errors import InputError
from bitwright.exchange.shapes import to_timeloop
from bitwright.files import check_file, check_folder, whole_folder, write_atomic
from bitwright.networks.load import load
from bitwright.networks.trace import trace
from bitwright.studies.setting_files import read_machine

RUNNER = CliRunner()
HOSTILE = (
    "a\x1b[31mb\r\x07\u202e",
    "<script>alert(1)</script><img src=x onerror=alert(2)>",
    "../../x",
    "[bold red]x[/] [link=http://x]",
    "__class__",
)
"""Control characters and a right-to-left mark, HTML, a path, markup of the terminal library, an attribute."""


def onnx_file(path, nodes, constants=(), functions=(), outputs=("y",), domains=()):
    """An ONNX file of x [1, 4] and outputs [1, 2]; a constant is an array by name, or a tensor as it is."""
    onnx = pytest.importorskip("onnx", reason="ONNX files need the package onnx")
    helper = onnx.helper

    def value(name, sizes):
        return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, sizes)

    graph = helper.make_graph(
        [helper.make_node(*node[:3], domain=node[3] if len(node) > 3 else "", name=node[0]) for node in nodes],
        "graph",
        [value("x", [1, 4])],
        [value(name, [1, 2]) for name in outputs],
        list(constants),
    )
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(each, 1) for each in domains)]
    model = helper.make_model(graph, opset_imports=opsets, functions=list(functions), ir_version=8)
    path.write_bytes(model.SerializeToString())
    return str(path)


def weight(name="w"):
    from onnx import numpy_helper

    return numpy_helper.from_array(np.linspace(-1, 1, 8, dtype=np.float32).reshape(4, 2), name)


def function(name, nodes, inputs=("a",)):
    from onnx import helper

    return helper.make_function(
        "own", name, list(inputs), ["r"], nodes, [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    )


def calls(name, times=2):
    """A function that calls another as often as it is told."""
    from onnx import helper

    values = ["a", *(f"v{i}" for i in range(times - 1)), "r"]
    return [helper.make_node(name, [a], [b], domain="own") for a, b in itertools.pairwise(values)]


class TestFunctions:
    """What a file's functions stand for is counted before they are written out."""

    def test_calls_that_explode(self, tmp_path):
        pytest.importorskip("onnx")
        from onnx import helper

        functions = [function(f"F{i}", calls(f"F{i + 1}", 10)) for i in range(9)]
        functions.append(function("F9", [helper.make_node("Relu", ["a"], ["r"])]))  # 10^9 nodes in 10 functions
        name = onnx_file(tmp_path / "n.onnx", [("F0", ["x"], ["y"], "own")], (), functions, domains=["own"])
        with pytest.raises(InputError, match=r"is 1,000,000,000 nodes in 10 levels of functions"):
            load(name)

    def test_calls_of_themselves(self, tmp_path):
        pytest.importorskip("onnx")
        name = onnx_file(
            tmp_path / "n.onnx", [("F", ["x"], ["y"], "own")], (), [function("F", calls("F"))], domains=["own"]
        )
        with pytest.raises(InputError, match="functions that call themselves"):
            load(name)

    @pytest.mark.parametrize("where", ["beside", "cwd"])
    def test_their_data_lie_beside_the_model(self, where, tmp_path, monkeypatch):
        """A constant of a function is read from the model's folder, and never from the folder where one works."""
        onnx = pytest.importorskip("onnx")
        helper = onnx.helper
        tensor = onnx.TensorProto(name="c", data_type=1, dims=(4, 2), data_location=1)
        tensor.external_data.add(key="location", value="w.bin")
        constant = helper.make_node("Constant", [], ["w"])
        constant.attribute.append(helper.make_attribute("value", tensor))
        body = [constant, helper.make_node("MatMul", ["a", "w"], ["r"])]
        (tmp_path / "model").mkdir()
        (tmp_path / "cwd").mkdir()
        name = onnx_file(
            tmp_path / "model" / "n.onnx", [("F", ["x"], ["y"], "own")], (), [function("F", body)], domains=["own"]
        )
        (tmp_path / ("model" if where == "beside" else "cwd") / "w.bin").write_bytes(np.ones(8, np.float32).tobytes())
        monkeypatch.chdir(tmp_path / "cwd")
        if where == "beside":
            assert [(site.k, site.n) for site in trace(load(name)).sites] == [(4, 2)]
        else:
            with pytest.raises(InputError, match="which is missing; put that file beside the model"):
                load(name)


def test_what_is_larger_than_a_protocol_buffer_is_not_read(tmp_path):
    pytest.importorskip("onnx")
    with (tmp_path / "n.onnx").open("wb") as file:
        file.truncate(2**40)  # of which nothing is on the disk
    with pytest.raises(InputError, match="at most 2,147,483,647; export it"):
        load(str(tmp_path / "n.onnx"))


def test_a_file_without_outputs(tmp_path):
    name = onnx_file(tmp_path / "n.onnx", [("MatMul", ["x", "w"], ["y"])], [weight()], outputs=())
    with pytest.raises(InputError, match="has no outputs"):
        load(name)


class TestPlaces:
    """Nothing but files is replaced by files, and folders at one stroke."""

    def test_devices_and_pipes_stay(self, tmp_path):
        pipe = tmp_path / "pipe.onnx"
        os.mkfifo(pipe)
        for refuse in (check_file, lambda path: write_atomic(path, b"")):
            with pytest.raises(InputError, match="a device, a pipe or a socket"):
                refuse(pipe)
        assert stat.S_ISFIFO(pipe.stat().st_mode)
        assert [each.name for each in tmp_path.iterdir()] == ["pipe.onnx"]
        renamed = tmp_path / "pipe"
        os.mkfifo(renamed)
        for name in (pipe, renamed):
            with pytest.raises(InputError, match="no regular file"):
                load(str(name))

    @pytest.mark.parametrize("behind", ["nowhere/x", "link.csv"])
    def test_links_that_lead_nowhere_stay(self, behind, tmp_path):
        link = tmp_path / "link.csv"
        link.symlink_to(behind)
        for refuse in (check_file, lambda path: check_folder(path, marker="mark", overwrite=True)):
            with pytest.raises(InputError, match="a link that leads nowhere"):
                refuse(link)
        assert link.readlink() == Path(behind)

    @pytest.mark.parametrize("call", ["touch", "mkdir"])
    def test_a_folder_that_takes_nothing_is_told_before_the_work(self, call, tmp_path, monkeypatch):
        def fails(*_, **__):
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr(Path, call, fails)
        refuse = {"touch": check_file, "mkdir": lambda path: check_folder(path, marker="mark", overwrite=False)}[call]
        with pytest.raises(InputError, match=r"cannot write .*/new: Read-only file system; give a writable path"):
            refuse(tmp_path / "new")
        assert not list(tmp_path.iterdir())

    def test_a_full_disk_is_told_of_the_place_that_was_named(self, tmp_path, monkeypatch):
        def fails(*_):
            raise OSError(28, "No space left on device")

        place = tmp_path / "v"
        monkeypatch.setattr(Path, "write_bytes", fails)
        with pytest.raises(InputError) as error, whole_folder(place, marker="mark", overwrite=False) as new:
            write_atomic(new / "mark", b"")
        assert str(error.value) == f"cannot write {place}: No space left on device; give a writable path"
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
    def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(self, error, tmp_path, monkeypatch):
        place = tmp_path / "v"
        place.mkdir()
        (place / "mark").write_text("old")
        replace, done = type(place).replace, []

        def fails(path, target):
            done.append(path)
            if len(done) == 2:
                raise error(28, "No space left on device")
            return replace(path, target)

        monkeypatch.setattr(type(place), "replace", fails)
        monkeypatch.setattr("bitwright.files._exchanged", lambda one, other: False)  # in two steps
        with (
            pytest.raises(InputError if error is OSError else error),
            whole_folder(place, marker="mark", overwrite=True) as new,
        ):
            (new / "mark").write_text("new")
        monkeypatch.undo()
        assert (place / "mark").read_text() == "old"
        assert [each.name for each in tmp_path.iterdir()] == ["v"]

    def test_problems_are_there_all_or_none(self, tmp_path, monkeypatch):
        (tmp_path / "two.csv").write_text("name,M,K,N\na,4,4,4\nb,8,8,8\n")
        network, done = load(str(tmp_path / "two.csv")), []

        def fails(path, content):
            done.append(path)
            if len(done) == 2:
                raise KeyboardInterrupt
            write_atomic(path, content)

        monkeypatch.setattr("bitwright.exchange.shapes.timeloop.write_atomic", fails)
        with pytest.raises(KeyboardInterrupt):
            to_timeloop(network, tmp_path / "t")
        assert [each.name for each in tmp_path.iterdir()] == ["two.csv"]

    def test_an_interrupt_says_what_is_whole(self, tmp_path, monkeypatch):
        """Of all that a command is to write: a plan is there before the results are."""
        old, new, third = tmp_path / "old", tmp_path / "new", tmp_path / "third"
        old.write_text("before")
        interrupts = Interrupts()
        interrupts.expect(old, new, third, None)
        assert interrupts.written == "nothing was written"
        write_atomic(new, b"whole")
        assert interrupts.written == f"{new} was written before that"
        write_atomic(old, b"again")
        assert interrupts.written == f"{old} and {new} were written before that"
        interrupts.forget()
        assert interrupts.written == "nothing was written"

    def test_a_command_says_so_that_had_written_its_plan(self, tmp_path, monkeypatch):
        """It is interrupted when the plan is saved and the result is not."""
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(INTERRUPTS, "came", True)

        def interrupted(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr("bitwright.cli.simulate.deliver", interrupted)
        words = ["simulate", "gemm:8x8x8", "--accelerator", "simd", "--save-plan", "plan", "--out", "r.csv"]
        done = CliRunner().invoke(app, words)
        assert Path("plan").is_file()
        assert done.stderr.splitlines()[-1] == "bitwright: interrupted; plan was written before that"


class TestNames:
    """Names from files are shown as they are where they can be, and obeyed nowhere."""

    @pytest.fixture
    def named(self, tmp_path, monkeypatch):
        pytest.importorskip("onnx")
        nodes, last = [], "x"
        for i, name in enumerate(HOSTILE):
            nodes.append(("MatMul", [last, f"w{name}"], [f"{name}{i}"]))
            last = f"{name}{i}"
        from onnx import numpy_helper

        square = np.eye(4, dtype=np.float32) * 0.5
        constants = [numpy_helper.from_array(square, f"w{name}") for name in HOSTILE]
        nodes.append(("MatMul", [last, "w"], ["y"]))
        monkeypatch.chdir(tmp_path)
        return onnx_file(tmp_path / "n.onnx", nodes, [*constants, weight()])

    def test_on_the_terminal_and_in_files(self, named, tmp_path):
        done = RUNNER.invoke(app, ["nodes", named, "--wide"])
        assert done.exit_code == 0, done.stderr
        assert all(each.isprintable() for each in done.stdout.replace("\n", ""))
        done = RUNNER.invoke(
            app, ["compare", named, "--methods", "int8", "-a", "systolic-ws", "-o", "p.html", "-o", "p.csv"]
        )
        assert done.exit_code == 0, done.stderr
        assert all(each.isprintable() for each in done.stdout.replace("\n", ""))
        page = (tmp_path / "p.html").read_text()
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        done = RUNNER.invoke(app, ["export", named, "-f", "vectors", "-o", "v"])
        assert done.exit_code == 0, done.stderr
        done = RUNNER.invoke(app, ["export", named, "-f", "timeloop", "-o", "t"])
        assert done.exit_code == 0, done.stderr
        assert {each.name for each in tmp_path.iterdir()} == {"n.onnx", "p.html", "p.csv", "v", "t"}
        assert all(re.fullmatch(r"[\w.-]+", file.name) for folder in "vt" for file in (tmp_path / folder).iterdir())


TABLE = """Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,
Conv1, 14, 14, 3, 3, 16, 32, 1,
DP_2, 12, 12, 3, 3, 32, 32, 2,
"""
WORKLOAD = """- id: 0
  name: conv
  operator_type: Conv
  equation: O[b][k][oy][ox]+=W[k][c][fy][fx]*I[b][c][iy][ix]
  dimension_relations: [ix=1*ox+1*fx, iy=1*oy+1*fy]
  loop_dims: [B, K, C, OY, OX, FY, FX]
  loop_sizes: [1, 8, 4, 6, 6, 3, 3]
  operand_precision: {W: 8, I: 8, O: 16, O_final: 8}
  operand_source: {W: 0, I: 0}
"""
PROBLEM = """problem:
  version: 0.4
  shape:
    name: product
    dimensions: [M, K, N]
    data_spaces:
    - {name: Weights, projection: [[[K]], [[N]]]}
    - {name: Inputs, projection: [[[M]], [[K]]]}
    - {name: Outputs, projection: [[[M]], [[N]]], read_write: true}
  instance: {M: 4, K: 8, N: 16}
"""
MACHINE = """name: tiny
memories:
  rf: {size: 8, r_cost: 0.1, w_cost: 0.1, area: 0, latency: 1, operands: [I2], served_dimensions: [], ports: []}
  dram: {size: 10000000000, r_cost: 700, w_cost: 750, area: 0, latency: 1, operands: [I1, I2, O],
    ports: [{name: rw, type: read_write, bandwidth_min: 64, bandwidth_max: 64, allocation: [I1, I2, O]}],
    served_dimensions: [D1, D2]}
operational_array: {input_precision: [8, 8], unit_energy: 0.04, unit_area: 1, dimensions: [D1, D2], sizes: [8, 4]}
dataflows: {D1: [K], D2: [C]}
"""
TOKENS = ["", "0", "-1", "1e999", "99999999999999999999", "&a", "*a", "[", "{", "null", "\x00", "..", "!!python/x", "K"]


def mutated(text, draw):
    """The text with a few characters, words or lines gone, doubled or replaced."""
    for _ in range(draw.choice((1, 1, 2, 5))):
        place = draw.randrange(len(text) + 1)
        match draw.randrange(4):
            case 0:
                text = text[:place] + text[place + draw.randrange(1, 12) :]
            case 1:
                text = text[:place] + chr(draw.randrange(1, 300)) + text[place + 1 :]
            case 2:
                words = re.split(r"(\W+)", text)
                words[draw.randrange(len(words))] = draw.choice(TOKENS)
                text = "".join(words)
            case _:
                lines = text.splitlines(keepends=True) or [""]
                lines.insert(draw.randrange(len(lines)), draw.choice(lines))
                text = "".join(lines)
    return text


@pytest.mark.parametrize("form", ["table", "workload", "problem", "machine"])
def test_mutated_tables_and_yaml_are_read_or_refused(form, tmp_path):
    text = {"table": TABLE, "workload": WORKLOAD, "problem": PROBLEM, "machine": MACHINE}[form]
    path, draw, read = tmp_path / "file.yaml", random.Random(0), 0  # noqa: S311
    path.write_text(text)
    open_file = read_machine if form == "machine" else load
    open_file(str(path))
    for _ in range(int(os.environ.get("BITWRIGHT_MUTATIONS", "60"))):
        path.write_text(mutated(text, draw), encoding="utf-8", errors="surrogatepass")
        with contextlib.suppress(InputError):
            open_file(str(path))
            read += 1
    assert read


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")  # noqa: PTH110
class TestOutputsThatEnd:
    """A result that nobody can take is one sentence, or silence where nobody reads on."""

    def run(self, arguments, **options):
        command = [sys.executable, "-m", "bitwright", *arguments]
        return subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False, **options)

    @pytest.mark.parametrize("form", ["--json", "--wide"])
    def test_a_full_disk(self, form):
        with open("/dev/full", "w") as full:  # noqa: PTH123
            done = self.run(["nodes", "gemm:4x4x4", form], stdout=full)
        assert (done.returncode, done.stderr.splitlines()[-1]) == (
            1,
            "bitwright: the result could not be written: No space left on device",
        )
        assert "Traceback" not in done.stderr

    def test_a_pipe_that_is_closed(self):
        reads, writes = os.pipe()
        os.close(reads)
        try:
            done = self.run(["nodes", "gemm:4x4x4"], stdout=writes)
        finally:
            os.close(writes)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert "code that was given" not in done.stderr
