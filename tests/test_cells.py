"""What a comparison has judged outlives an interruption, and nothing else does."""

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tests.toys import network_of, normal

import bitwright
from bitwright.methods.protocol import Composition
from bitwright.studies.journal import cache_folder

METHODS = ["int8", "int8-sym", "aqs", "int8-token", "w4a8"]


@pytest.fixture(autouse=True)
def _fresh(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def toy(seed=0):
    torch.manual_seed(seed)
    layers = torch.nn.Sequential(torch.nn.Linear(32, 16), torch.nn.ReLU(), torch.nn.Linear(16, 8))
    return network_of(layers, normal(8, 32))


def compared(network, progress=lambda stage, done, total: None, **given):
    return bitwright.compare(network, METHODS, ["systolic-ws", "panacea"], limit=8, progress=progress, **given)


def interrupted(network, at, **given):
    """A run that is interrupted when it says `at`."""

    def progress(stage, done, total):
        if at in stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compared(network, progress, **given)


@pytest.fixture
def calibrated(monkeypatch):
    """The methods that were calibrated."""
    said, plain = [], Composition.calibrate

    def calibrate(self, network, batches):
        said.append(self.name)
        return plain(self, network, batches)

    monkeypatch.setattr(Composition, "calibrate", calibrate)
    return said


def without_seconds(found):
    return found.frame().drop(columns=["seconds", "float_seconds"])


@pytest.mark.parametrize("given", [{}, {"budget": "5%"}])
def test_the_same_call_goes_on(given, calibrated):
    undisturbed = compared(toy(), **given)
    assert not any(cache_folder().iterdir())
    all_of_them = list(calibrated)
    interrupted(toy(), "calibrating int8-token", **given)
    assert len(list(cache_folder().iterdir())) == 3
    calibrated.clear()
    again = compared(toy(), **given)
    assert calibrated == all_of_them[3:]
    assert without_seconds(again).equals(without_seconds(undisturbed))
    assert not any(cache_folder().iterdir())


OTHERS = [{"seed": 1}, {"calibration_count": 4}, {"exact": False}, {"options": {"smoothing": "none"}}]


@pytest.mark.parametrize("given", OTHERS)
def test_another_call_takes_nothing_over(given, calibrated):
    interrupted(toy(), "calibrating int8-token")
    calibrated.clear()
    compared(toy(), **given)
    assert set(METHODS) <= set(calibrated)


def test_another_network_takes_nothing_over(calibrated):
    interrupted(toy(), "calibrating int8-token")
    calibrated.clear()
    compared(toy(seed=1))
    assert set(METHODS) <= set(calibrated)


@functools.cache
def undisturbed():
    return compared(toy())


@pytest.mark.parametrize("at", [0, 40, -1])
def test_damaged_entries_are_computed_anew(at, calibrated):
    expected = without_seconds(undisturbed())
    interrupted(toy(), "calibrating int8-token")
    for file in cache_folder().iterdir():
        content = bytearray(file.read_bytes())
        content[at] ^= 1
        file.write_bytes(content)
    calibrated.clear()
    again = compared(toy())
    assert set(METHODS) <= set(calibrated)
    assert without_seconds(again).equals(expected)


def test_entries_under_each_others_names_are_computed_anew(calibrated):
    expected = without_seconds(undisturbed())
    interrupted(toy(), "calibrating int8-token")
    first, second, *_ = cache_folder().iterdir()
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    calibrated.clear()
    assert without_seconds(compared(toy())).equals(expected)
    assert len(calibrated) == 4


def test_the_same_weights_in_other_code_are_another_network(calibrated):
    interrupted(toy(), "calibrating int8-token")
    calibrated.clear()
    other = toy()
    other.module[1] = torch.nn.Tanh()
    compared(other)
    assert set(METHODS) <= set(calibrated)


def test_a_method_whose_source_is_nowhere_is_not_kept(monkeypatch):
    def nowhere(module):
        raise OSError("could not get source code")

    monkeypatch.setattr("inspect.getsource", nowhere)
    interrupted(toy(), "calibrating int8-token")
    assert not cache_folder().exists()
    assert len(compared(toy()).rows) == 2 * len(METHODS)


def test_a_folder_that_cannot_be_written_to_keeps_nothing(tmp_path):
    (tmp_path / "cache").write_text("no folder")
    assert len(compared(toy()).rows) == 2 * len(METHODS)


MODULE = """
import time
import torch

class Slow(torch.nn.Linear):
    def forward(self, x):
        time.sleep(0.01)
        return super().forward(x)

def layers():
    torch.manual_seed(0)
    return Slow(16, 8), torch.ones(4, 16)
"""


def test_a_killed_command_goes_on(tmp_path):
    (tmp_path / "slow_network.py").write_text(MODULE)
    command = [sys.executable, "-m", "bitwright", "compare", "slow_network:layers", "--budget", "5%"]
    command += ["--methods", "int8", "--accelerators", "systolic-ws", "--limit", "8", "--out", "c.csv"]
    first = subprocess.Popen(command, cwd=tmp_path, env=os.environ, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not _kept(tmp_path) and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    kept = _kept(tmp_path)
    assert kept
    assert not (tmp_path / "c.csv").exists()
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "c.csv").read_text().startswith("system,network,method")
    assert not _kept(tmp_path)


def _kept(tmp_path: Path) -> list[Path]:
    return list(tmp_path.glob("cache/bitwright/judged/*.safetensors"))
