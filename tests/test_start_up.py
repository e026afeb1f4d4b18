"""What commands import: torch and what else takes long only where something is computed with it."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
sys.argv = ["bitwright", *sys.argv[1:]]
from bitwright.cli.main import main
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
print("\\nIMPORTED", *(name for name in HEAVY if name in sys.modules))
"""
HEAVY = ("torch", "numba", "pandas", "plotly", "optuna", "onnx", "transformers", "scipy")


def imported(*words):
    """Which of the heavy modules are there when a command has ended."""
    program = f"HEAVY = {HEAVY!r}\n{PROGRAM}"
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("IMPORTED")[2].split())


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        *([verb, "--help"] for verb in ("simulate", "evaluate", "compare", "sweep", "search", "train", "reproduce")),
        ["methods"],
        ["methods", "int8"],
        ["accelerators"],
        ["models"],
        ["simulate", "gemm:64x512x512"],
        ["simulate", "gemm:64x512x512", "-a", "systolic-os", "--json"],
    ],
    ids=" ".join,
)
def test_nothing_heavy_is_imported(words):
    assert not imported(*words)


def test_networks_of_shapes_need_torch_and_not_its_compiler():
    program = PROGRAM.replace("HEAVY", "('torch._dynamo', 'sympy', 'transformers')")
    done = subprocess.run(
        [sys.executable, "-c", program, "simulate", "resnet18"], capture_output=True, text=True, check=True
    )
    assert not done.stdout.rpartition("IMPORTED")[2].split()
