"""Lower bounds of dependencies: what `make oldest` installs is what pyproject says, and says all that is imported."""

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tools.oldest import declared, oldest

ROOT = Path(__file__).parents[1]
BROUGHT = {
    "click": "typer",
    "huggingface_hub": "transformers",
    "llvmlite": "numba",
    "markupsafe": "jinja2",
    "pydantic_core": "pydantic",
    "sqlalchemy": "optuna",
}
"""What is imported and comes with what is declared."""


def imported():
    """Top-level names that the package imports anywhere."""
    found = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {each.name.partition(".")[0] for each in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - {"bitwright"}


def test_what_is_imported_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    texts = [*project["dependencies"], *(text for extra in project["optional-dependencies"].values() for text in extra)]
    zoo = [line.split("==")[0] for line in (ROOT / "zoo.txt").read_text().splitlines() if line and line[0] != "#"]
    known = {canonicalize_name(name) for name in (*(Requirement(text).name for text in texts), *zoo)}
    packages = metadata.packages_distributions()
    missing = []
    for name in imported():
        owners = {canonicalize_name(each) for each in packages.get(name, [BROUGHT.get(name, name)])}
        if not owners & known and BROUGHT.get(name) not in known:
            missing.append(name)
    assert not missing


def test_bounds_are_those_declared():
    lines = dict(line.split("==") for line in oldest(declared()))
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for name in ("torch", "typer", "safetensors", "optuna", "dask", "pytest"):
        assert re.search(rf'"{name}(\[\w+\])?>={re.escape(lines[name])}"', text)
    assert len(lines) > 20


def test_a_bound_that_is_missing():
    with pytest.raises(SystemExit, match="needs exactly one lower bound"):
        list(oldest({"x": Requirement("x<3")}))
