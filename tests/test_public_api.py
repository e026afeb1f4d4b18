"""The public names, that they are quick to import, and the examples in the docstrings."""

import doctest
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.toys import network_of, normal

import bitwright
import bitwright.api
from bitwright.errors import InputError
from bitwright.methods.plan import Plan

DOCS = Path(__file__).parent.parent / "docs"
NAMES = [
    "Plan",
    "accelerators",
    "calibrate",
    "compare",
    "evaluate",
    "explain",
    "export",
    "load",
    "methods",
    "models",
    "nodes",
    "quantize",
    "reproduce",
    "search",
    "simulate",
    "sweep",
    "systems",
    "train",
]


def toy():
    torch.manual_seed(0)
    return network_of(torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU(), torch.nn.Linear(4, 3)), normal(2, 8))


def test_public_names():
    assert bitwright.__all__ == NAMES
    assert dir(bitwright) == sorted([*NAMES, "__version__"])
    assert all(callable(getattr(bitwright, name)) for name in NAMES)
    with pytest.raises(AttributeError, match="no attribute 'simulator'"):
        _ = bitwright.simulator


def extension_points():
    """What the pages on one's own methods and accelerators import, by where it comes from."""
    lines = re.compile(r"^from (bitwright[\w.]*) import (.+)$", re.MULTILINE)
    for page in ("own-method.md", "own-accelerator.md"):
        for module, names in lines.findall((DOCS / page).read_text()):
            yield from ((module, name) for name in names.split(", "))
    yield from (("bitwright.methods.protocol", "Method"), ("bitwright.accelerators.protocol", "Accelerator"))


PUBLIC = sorted({*(("bitwright", name) for name in NAMES), *extension_points()})


@pytest.mark.parametrize(("module", "name"), PUBLIC)
def test_the_help_of_every_public_name_has_an_example(module, name):
    """Of its own, which `test_examples_in_docstrings` runs with all others."""
    said = inspect.getdoc(getattr(importlib.import_module(module), name)) or ""
    assert doctest.DocTestParser().get_examples(said), f"{module}.{name} has no example"


VERBS = [name for name in NAMES if name not in ("Plan", "accelerators", "methods", "models", "systems")]


@pytest.mark.parametrize("name", VERBS)
def test_the_help_of_every_verb_has_parameters_and_errors(name):
    function = getattr(bitwright, name)
    said = inspect.getdoc(function)
    assert "Parameters\n----------" in said
    assert "Raises\n------" in said
    described = said.partition("Parameters\n----------")[2].partition("\nReturns\n")[0].partition("\nRaises\n")[0]
    known = set(re.findall(r"\w+", " ".join(re.findall(r"^[\w, ]+?(?= :|$)", described, re.MULTILINE))))
    missing = set(inspect.signature(function).parameters) - known - {"progress"}
    assert not missing, f"{name} does not say what {', '.join(sorted(missing))} is"


def test_the_reference_has_every_public_name():
    shown = set(re.findall(r"^::: (?:[\w.]+\.)?(\w+)$", (DOCS / "api.md").read_text(), re.MULTILINE))
    assert set(NAMES) <= shown
    assert {name for name in dir(bitwright.api) if isinstance(getattr(bitwright.api, name), type)} - shown == {
        "Entry",
        "ModelEntry",
        "SystemEntry",
    }
    for path in re.findall(r"^::: ([\w.]+)\.(\w+)$", (DOCS / "api.md").read_text(), re.MULTILINE):
        assert inspect.getdoc(getattr(importlib.import_module(path[0]), path[1]))


def test_packages_that_list_stay_packages():
    assert {"float", "int8"} <= {entry.name for entry in bitwright.methods()}
    assert {"systolic-ws", "systolic-os"} <= {entry.name for entry in bitwright.accelerators()}
    assert bitwright.methods.__name__ == "bitwright.methods"


def test_importing_is_lean():
    check = "import sys, bitwright.cli.main; print({'torch', 'pandas', 'numpy', 'pydantic'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


PACKAGE = Path(bitwright.__file__).parent
EXAMPLES = [
    ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)
    for file in sorted(PACKAGE.rglob("*.py"))
    if ">>>" in file.read_text()
]


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_in_docstrings(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0


def test_a_notebook_session(tmp_path):
    network = toy()
    plan = bitwright.calibrate(network, "int8", options={"smoothing": "none"})
    assert isinstance(plan, Plan)
    exact, fast = (bitwright.quantize(network, plan, exact=exact) for exact in (True, False))
    batch = normal(2, 8)
    assert torch.equal(exact(batch), exact.run({"input_0": batch}))
    torch.testing.assert_close(exact(batch), fast(batch))
    assert bitwright.evaluate(network, plan, limit=8).off_by == 0
    found = bitwright.simulate(network, plan, ["systolic-ws", "systolic-os"], parameters={"rows": 8})
    assert [simulation.cost.macs_dense for simulation in found.values()] == [2 * (8 * 4 + 4 * 3)] * 2
    frame = bitwright.compare(network, ["float", "int8"], ["systolic-ws"], limit=8).frame()
    assert frame["status"].tolist() == ["unsupported", "ok"]


def test_samples_of_ones_own():
    plan = bitwright.calibrate(toy(), "int8-sym", samples=[{"input_0": torch.full((1, 8), 2.54)}])
    assert float(plan.site("0").x.scale) == pytest.approx(2.54 / 127)


def test_shapes_cannot_be_quantized():
    with pytest.raises(InputError, match="shapes but no numbers"):
        bitwright.quantize("gemm:4x4x4", "int8")
