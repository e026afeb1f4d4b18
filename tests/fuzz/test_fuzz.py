"""A short run of the campaign (`make fuzz` is the long one), and that its guards catch what they are there for."""

import ctypes
import importlib
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.fuzz import mutations
from tests.fuzz.guards import watched
from tests.fuzz.kinds import KINDS

from bitwright.errors import InputError

NEEDS = {
    "store": "optuna",
    "onnx": "onnx",
    "safetensors": "transformers",
    "huggingface": "transformers",
    "gguf": "gguf",
}
QUICK = 25  # cases of a kind
SLOW = {"store": 6, "command": 4, "huggingface": 6, "gguf": 6, "safetensors": 8, "plan": 15}


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", KINDS)
def test_mutated_input_is_read_or_refused(name, tmp_path):
    """In one sentence, in time, in memory; the seeds themselves are read, so that mutations are of what is read."""
    pytest.importorskip(NEEDS.get(name, "bitwright"))
    maker = KINDS[name].maker(tmp_path)
    for number in range(2):
        seen = watched(maker(random.Random(number), plain=True))
        assert seen.kind == "read", (seen.said, seen.error)

    @settings(
        max_examples=SLOW.get(name, QUICK),
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**32))
    def one(seed):
        seen = watched(maker(random.Random(seed)))
        assert not seen.is_finding, f"{seen.kind}: {seen.said}"

    one()


class AsItIsError(InputError):
    def __str__(self):
        return self.args[0]


def refuse(text, error=AsItIsError):
    raise error(text)


def by_name(name):
    """Import a module anew whose name nobody wrote down as an import."""
    kept = sys.modules.pop(name, None)
    try:
        importlib.import_module(name)
    finally:
        if kept is not None:
            sys.modules[name] = kept


class TestGuards:
    """Each finds what it is there for, and nothing in what is as it should be."""

    @pytest.mark.parametrize(
        ("kind", "case"),
        [
            ("read", lambda: 1),
            ("refused", lambda: refuse("x is 1; 2 is expected")),
            ("refused", lambda: refuse("a name of two\nlines, " + "9" * 9000, InputError)),
            ("sentence", lambda: refuse("")),
            ("sentence", lambda: refuse("one\ntwo")),
            ("sentence", lambda: refuse("x" * 5000)),
            ("traceback", lambda: {}["x"]),
            ("traceback", lambda: sys.exit(0)),
            ("memory", lambda: bytearray(1 << 60)),
            ("code", lambda: exec("1")),  # noqa: S102
            ("code", lambda: eval("1 + 1")),  # noqa: S307
            ("code", lambda: pickle.loads(pickle.dumps(Path))),  # noqa: S301
            ("code", lambda: os.system("true")),  # noqa: S605
            ("code", lambda: subprocess.run(["true"], check=True)),
            ("code", lambda: ctypes.CDLL("libm.so.6")),
            ("code", lambda: by_name("nturl2path")),
            ("code", lambda: Path("/outside-of-the-case").write_text("x")),
            ("code", lambda: Path("inside").symlink_to("/etc") or Path("inside/x").write_text("x")),
            ("code", lambda: Path("/etc/hostname").replace("/etc/elsewhere")),
            ("read", lambda: Path("inside").write_text("x")),
        ],
    )
    def test_what_they_find(self, kind, case):
        assert watched(case).kind == kind

    def test_a_hang(self):
        def forever():
            while True:
                pass

        seen = watched(forever, seconds=0.2)
        assert seen.kind == "hang"
        assert 0.2 <= seen.seconds < 10


class TestMutations:
    def test_are_of_what_was_given(self):
        """They change it almost always, leave what was given as it is, and are the same for the same numbers."""
        tree = {"a": [1, 2.5, {"b": "text"}], "c": None}
        kept = repr(tree)
        for mutate, seed in (
            (mutations.of_bytes, b"some bytes"),
            (mutations.of_text, "some text"),
            (mutations.of_tree, tree),
        ):
            made = [repr(mutate(random.Random(number), seed)) for number in range(200)]
            assert made == [repr(mutate(random.Random(number), seed)) for number in range(200)]
            assert sum(each != repr(seed) for each in made) > 150
            assert len(set(made)) > 100
        assert repr(tree) == kept
