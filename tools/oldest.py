"""Installs the oldest declared release of everything that bitwright asks for, and runs it: the bounds are true.

    python tools/oldest.py [--keep FOLDER] [--only-print]

The bounds are read from `pyproject.toml`: of each requirement of `dependencies` and of the extras that bitwright
imports (`EXTRAS`) the lower one, and of those that tests need (`FOR_TESTS`). They constrain pip, which installs the
project as anybody would; what pip chooses for itself (dependencies of dependencies) is the newest that fits. Then run
the commands of shapes, which load no network, and a slice of the tests: each a room that leans on another dependency.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
EXTRAS = ("demo", "onnx", "parquet", "rtl", "sweep", "postgresql")
FOR_TESTS = ("pytest", "hypothesis", "jsonschema")
TESTS = (
    *("test_units.py", "test_plan_file.py", "test_setting_files.py", "test_tables.py", "test_shape_files.py"),
    *("test_onnx.py", "circuits/test_slice_circuits.py", "test_stores.py", "test_sweep.py", "test_postgresql.py"),
)
LEFT_OUT = "not complex and not anything_else and not mutated and not hostile_machines"
"""Tests that write complex numbers, which safetensors does from 0.7 on, or that take long or look at the clock."""
COMMANDS = (
    ("models",),
    ("methods",),
    ("accelerators",),
    ("simulate", "bert-base", "--accelerator", "systolic-ws,panacea,apsq,lpa,drift", "--json"),
    (
        "compare",
        "gemm:64x96x32",
        "--methods",
        "int8,w4a8",
        "--accelerators",
        "simd,lpa",
        "--out",
        "made.html",
        "--overwrite",
    ),
)


def declared() -> dict[str, Requirement]:
    """Of each direct dependency of `EXTRAS` and `FOR_TESTS` its requirement, by canonical name."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    texts = [*project["dependencies"], *(text for extra in EXTRAS for text in extras[extra])]
    found = {canonicalize_name(each.name): each for each in map(Requirement, texts)}
    found |= {each.name: each for each in map(Requirement, extras["dev"]) if each.name in FOR_TESTS}
    found.pop(canonicalize_name(project["name"]), None)  # an extra that names another of EXTRAS
    return found


def oldest(requirements: dict[str, Requirement]) -> Iterator[str]:
    """Of each requirement the line that constrains pip to its lower bound; raises where there is not exactly one."""
    for name, each in sorted(requirements.items()):
        bounds = [specifier.version for specifier in each.specifier if specifier.operator in {">=", "=="}]
        if len(bounds) != 1:
            raise SystemExit(f"{each} needs exactly one lower bound")
        yield f"{name}=={bounds[0]}"


def ran(what: str, command: Sequence[str | Path], folder: Path) -> bool:
    """Run a command in a folder and print how long it took, and where it fails what it said; whether it did not."""
    began = time.monotonic()
    settings = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    settings["PIP_CONSTRAINT"] = str(folder / "oldest.txt")
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    print(f"{time.monotonic() - began:6.1f} s  {what}", flush=True)
    if done.returncode:
        print(f"{(done.stdout + done.stderr)[-6000:]}\n{what} failed, exit {done.returncode}", flush=True)
    return not done.returncode


def install(folder: Path) -> Path:
    """Make an environment in a folder that holds `oldest.txt`; its Python, or an end where it cannot be made."""
    python = folder / "venv" / "bin" / "python"
    made = python.exists() or ran("a new environment", [sys.executable, "-m", "venv", folder / "venv"], folder)
    pip = [python, "-m", "pip", "install", "--quiet"]
    target = f"{ROOT}[{','.join(EXTRAS)}]"
    if not (made and ran("pip install of the oldest", [*pip, "--editable", target, *FOR_TESTS], folder)):
        raise SystemExit(1)
    return python


def main() -> None:
    """Read the bounds, install, run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--keep", type=Path, help="make the environment here and keep it, instead of anew each time")
    parser.add_argument(
        "--only-print", action="store_true", help="print the bounds as pip's constraints, install nothing"
    )
    given = parser.parse_args()
    lines = list(oldest(declared()))
    print("\n".join(lines))
    if given.only_print:
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.keep or Path(temporary)).resolve()
        folder.mkdir(exist_ok=True)
        (folder / "oldest.txt").write_text("\n".join(lines) + "\n")
        python = install(folder)
        good = [ran(f"bitwright {' '.join(words)}", [python, "-m", "bitwright", *words], folder) for words in COMMANDS]
        # Older releases warn of what newer ones changed: a bound is about what works.
        words = ["-o", "filterwarnings=", "-p", "no:cacheprovider", "--rootdir", ROOT, "-c", ROOT / "pyproject.toml"]
        for name in TESTS:
            command = [python, "-m", "pytest", "-q", "-rs", "-k", LEFT_OUT, *words, ROOT / "tests" / name]
            good.append(ran(f"pytest {name}", command, folder))
        print(f"{sum(good)} of {len(good)} ran without a failure")
        sys.exit(not all(good))


if __name__ == "__main__":
    main()
