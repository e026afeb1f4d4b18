"""What enters is checked where it enters: numbers that overflow, files that never end, conditions that explode."""

import os
import socket
import time

import pytest

from bitwright import strict_yaml, technology
from bitwright.errors import BitwrightError, InputError
from bitwright.files import read_bytes, read_text
from bitwright.methods.protocol import compose
from bitwright.networks.load import load
from bitwright.networks.network import InputShape
from bitwright.settings import bounded, shown
from bitwright.studies.machines import build_accelerators
from bitwright.studies.setting_files import find_substrate, read_machine
from bitwright.studies.sweep import read_study
from bitwright.studies.sweep.conditions import Condition

READERS = {
    "machine": read_machine,
    "workload": load,
    "substrate": find_substrate,
    "price list": technology.load,
    "study": read_study,
}
STUDY = {"networks": ["gemm:4x4x4"], "methods": ["int8"], "accelerators": ["systolic-ws"]}


def refused(run):
    with pytest.raises(InputError) as error:
        run()
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 1500
    return message


class TestNumbers:
    """A number that no setting has is refused by its name, before anything is computed with it."""

    @pytest.mark.parametrize("value", [2**31, 2**63, 10**20, -(10**20)])
    @pytest.mark.parametrize("name", ["systolic-ws", "apsq", "lpa", "drift", "eyeriss", "panacea"])
    def test_of_machines(self, name, value):
        assert f"vector_lanes of {name}" in refused(lambda: build_accelerators([name], {"vector_lanes": value}))

    @pytest.mark.parametrize("value", [1e308, 1e-308, 1e13, float("inf"), float("nan"), "1e308"])
    def test_that_are_no_whole_ones(self, value):
        assert "clock_mhz of simd" in refused(lambda: build_accelerators(["simd"], {"clock_mhz": value}))

    def test_of_methods(self):
        assert "block of drift" in refused(lambda: compose("int8+drift", {"block": 10**20}))
        assert "x_granularity" in refused(lambda: compose("int8", {"x_granularity": "group:" + "9" * 6000}))

    @pytest.mark.parametrize(
        ("field", "value"), [("batch", 10**7), ("sequence_length", 10**8), ("image_size", 10**6), ("batch", 2**63)]
    )
    def test_of_inputs(self, field, value):
        assert f"{field} is {value:,}, at most" in refused(
            lambda: load("gemm:4x4x4", shape=InputShape(**{field: value}))
        )

    def test_whose_product_is_beyond_any_tensor(self):
        shape = InputShape(batch=10**6, sequence_length=10**7, phase="decode")
        assert "cannot be made" in refused(lambda: load("llama2-7b", shape=shape))

    @pytest.mark.parametrize(
        "sizes", ["9" * 5000 + "x1x1", "9" * 25 + "x9x9", "4294967296x4294967296x4", "x".join("9" * 200)]
    )
    def test_of_products(self, sizes):
        from bitwright.api import simulate

        refused(lambda: simulate(f"gemm:{sizes}", "int8", "systolic-ws"))

    def test_of_prices(self, tmp_path):
        path = tmp_path / "prices.yaml"
        for number in ("1.0e+308", "1.0e-300", ".inf", ".nan", "9" * 40):
            path.write_text(
                f"extends: 28\nprices: {{mac_int8: {{energy_pj: {number}, unit: pJ, source: me, kind: assumed}}}}\n"
            )
            assert "prices.mac_int8.energy_pj" in refused(lambda: technology.load(path))

    def test_in_messages(self):
        assert shown(10**5000) == "an integer of 16610 bits"
        assert len(shown([[10**9] * 10**5] * 10)) < 100
        assert bounded(2**31 - 1) == 2**31 - 1


CONTENTS = {
    "NUL": b"accelerator: lpa\nname: a\x00b\n",
    "an escape": b'accelerator: "a\\u001b[2J"\n',
    "a direction": b'accelerator: "a\\u202eb"\n',
    "half a character": b'accelerator: "\\ud800"\n',
    "UTF-16": "accelerator: lpa\n".encode("utf-16"),
    "Latin-1": b"name: caf\xe9\n",
    "aliases": b"a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
    + b"".join(b"a%d: &a%d [%s]\n" % (i, i, b",".join([b"*a%d" % (i - 1)] * 10)) for i in range(1, 10)),
    "an alias of itself": b"a: &a [*a]\n",
    "a merge with itself": b"a: &a\n  <<: *a\n",
    "brackets": b"[" * 50_000,
    "braces": b"{a: " * 20_000,
    "indents": b"\n".join(b" " * i + b"a:" for i in range(1500)),
    "digits": b"accelerator: " + b"9" * 10_000 + b"\n",
    "hexadecimal digits": b"accelerator: 0x" + b"f" * 10_000 + b"\n",
    "an object": b"!!python/object/apply:os.system ['true']\n",
    "a date": b"accelerator: 2026-99-99\n",
    "a list as key": b"? [a, b]\n: 1\n",
    "two documents": b"a: 1\n---\nb: 2\n",
    "nothing": b"",
}


class TestTexts:
    @pytest.mark.parametrize("what", READERS)
    def test_hostile_contents(self, what, tmp_path):
        path = tmp_path / "given.yaml"
        for content in CONTENTS.values():
            path.write_bytes(content)
            assert "given.yaml" in refused(lambda: READERS[what](str(path)))

    def test_a_mark_of_the_encoding(self, tmp_path):
        (tmp_path / "m.yaml").write_bytes(b"\xef\xbb\xbfaccelerator: lpa\nname: mine\n")
        assert read_machine(str(tmp_path / "m.yaml")).name == "mine"

    def test_size(self, tmp_path, monkeypatch):
        monkeypatch.setattr(strict_yaml, "MOST_WRITTEN", 1000)
        assert "line 1: more than 1,000 values" in refused(lambda: strict_yaml.parse(f"[{'1,' * 2000}]", file="f"))
        path = tmp_path / "large.yaml"
        with path.open("wb") as file:
            file.truncate(2**40)  # of which nothing is on the disk
        assert "larger than 8 MiB" in refused(lambda: strict_yaml.read(path))
        assert "larger than 256 MiB" in refused(lambda: read_text(path, what="text"))


class TestWhatIsNoFile:
    """Pipes are not waited for, devices not read, and what else is no file is told as such, at once."""

    @pytest.fixture
    def folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        os.mkfifo("pipe.yaml")
        (tmp_path / "folder.yaml").mkdir()
        (tmp_path / "zero.yaml").symlink_to("/dev/zero")
        (tmp_path / "loop.yaml").symlink_to("loop.yaml")
        bound = socket.socket(socket.AF_UNIX)
        bound.bind("socket.yaml")
        yield tmp_path
        bound.close()

    @pytest.mark.parametrize(
        "name", ["pipe.yaml", "folder.yaml", "zero.yaml", "loop.yaml", "socket.yaml", "a\0b.yaml", "a" * 300 + ".yaml"]
    )
    @pytest.mark.parametrize("what", READERS)
    def test_is_refused(self, what, name, folder):
        began = time.monotonic()
        refused(lambda: READERS[what](name))
        assert time.monotonic() - began < 20

    def test_in_place_of_bytes(self, folder):
        for name in ("pipe.yaml", "zero.yaml", "socket.yaml"):
            assert "a device, a pipe or a socket" in refused(lambda name=name: read_bytes(name, what="thing", most=9))
        (folder / "nine").write_bytes(b"123456789")
        assert read_bytes("nine", what="thing", most=9) == b"123456789"
        assert "larger than" in refused(lambda: read_bytes("nine", what="thing", most=8))


class TestMessages:
    """Names that messages quote are others': none breaks a line, and none is longer than a screen."""

    @pytest.mark.parametrize("kind", [InputError, BitwrightError])
    def test_are_one_line(self, kind):
        assert str(kind("a\nb\x1b[2J\ud800é")) == r"a\nb\x1b[2J\ud800é"
        said = str(kind("begun " + "9" * 10**6 + " ended"))
        assert said.startswith("begun 999")
        assert said.endswith("999 ended")
        assert len(said) < 3010


class TestConditions:
    """`when:` computes with numbers alone, and is as long as people write it."""

    @pytest.mark.parametrize(
        "text",
        [
            "'a' * 1000000000 == rows",
            "network * rows == 1",
            "'%1000000000d' % rows == ''",
            "[1] * 1000000000 == rows",
            "[1, 2] + [3] == rows",
            "-'a' == rows",
            "(rows > 1) * 3 == 3",
            "rows // 0 == 1",
        ],
    )
    def test_arithmetic_is_of_numbers(self, text):
        message = refused(lambda: Condition(text=text).holds({"rows": 8, "network": "n"}))
        assert "cannot be evaluated" in message

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("rows ** rows ** rows > 1", "not allowed"),
            ("rows > 1j", "not allowed"),
            ("network == b'x'", "not allowed"),
            ("rows > ...", "not allowed"),
            ("[r for r in [1]] == rows", "not allowed"),
            ("(lambda: 1)() == rows", "not allowed"),
            ("rows.real > 1", "unknown name"),
            ("rows[0] > 1", "not allowed"),
            ("f'{rows}' == '8'", "not allowed"),
            ("not " * 200 + "rows", "nests more than 40"),
            ("-" * 900 + "rows", "nests more than 40"),
            ("(" * 400 + "rows" + ")" * 400, "is not understood"),
            ("rows > 1 or " * 200 + "rows", "a condition of 2,404 characters"),
            ("rows >", "is not understood"),
            ("rows > 1\0", "is not understood"),
        ],
    )
    def test_form(self, text, said):
        study = {**STUDY, "parameters": {"rows": [8, 16]}, "when": text}
        assert said in refused(lambda: read_study(study))

    def test_what_holds(self):
        names = {"rows": 8, "cols": 24, "network": "n", "clock_mhz": 0.5}
        for text in ("rows * cols <= 192", "rows % 3 == 2", "-rows + 9 == 1", "not rows > 8", "network in ['n', 'm']"):
            assert Condition(text=text).holds(names)
        assert not Condition(text="rows / clock_mhz < 16").holds(names)
        assert Condition(text="absent > 1").holds(names)
