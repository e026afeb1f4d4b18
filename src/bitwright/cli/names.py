"""Names for the shell to complete, without importing what they stand for: a key press must not wait for torch.

Registered names are read from the entry points. Recipes and tasks are defined in modules that need torch, so the
built-in ones are written here again; tests hold them equal.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from bitwright import registry
from bitwright.cli.app import app
from bitwright.networks.catalogue import models as entries

RECIPES = (
    "af4",
    "af5",
    "af6",
    "af8",
    "ant-w4a8",
    "ant8",
    "apsq-gs1",
    "apsq-gs2",
    "apsq-gs3",
    "apsq-gs4",
    "aqs-w4",
    "drift-rows",
    "fp8",
    "int7-sym",
    "int8",
    "int8-sym",
    "int8-token",
    "lp4",
    "lp5",
    "lp6",
    "lp8",
    "mxfp4",
    "mxfp6",
    "mxfp8",
    "mxint8",
    "nvfp4",
    "psq",
    "psum-block",
    "psum16",
    "psum32",
    "sibia",
    "w4a8",
)
SOURCES = (
    "scikit-image",
    "scikit-learn",
    "lomiri-wallpapers-16.04",
    "mate-backgrounds",
    "opencv-doc",
    "batch-norm",
)
TASKS = ("fidelity", "perplexity", "sts", "top1")
FILES = ("*.yaml", "*.yml")
Complete = Callable[[str], Iterable[str]]


def models(incomplete: str) -> list[str]:
    """Networks, one or several with commas, and workload files."""
    return _listed(incomplete, [*(entry.name for entry in entries()), *_files()], ",")


def methods(incomplete: str) -> list[str]:
    """Methods and recipes, several with commas or composed with `+`."""
    return _listed(incomplete, [*registry.names("bitwright.methods"), *RECIPES], ",+")


def sources(incomplete: str) -> list[str]:
    """Sources of calibration images, several with commas."""
    return _listed(incomplete, SOURCES, ",")


def accelerators(incomplete: str) -> list[str]:
    """Accelerators and files of machines, several with commas."""
    return _listed(incomplete, [*registry.names("bitwright.accelerators"), *_files()], ",")


def substrates(incomplete: str) -> list[str]:
    """Substrates and their files."""
    return _listed(incomplete, ["common", "native", *_files()], "")


def tasks(incomplete: str) -> list[str]:
    """Tasks."""
    return _listed(incomplete, TASKS, "")


def verbs(incomplete: str) -> list[str]:
    """Verbs, all that there are."""
    return _listed(incomplete, [each.callback.__name__ for each in app.registered_commands if each.callback], "")


def _files() -> list[str]:
    return sorted(str(path) for form in FILES for path in Path().glob(form) if path.name.isprintable())


def _listed(incomplete: str, names: Sequence[str], separators: str) -> list[str]:
    """Those names that the last part may become, behind what stands before it.

    Examples
    --------
    >>> _listed("lpa,sys", ["lpa", "systolic-os", "systolic-ws"], ",")
    ['lpa,systolic-os', 'lpa,systolic-ws']
    """
    start = 1 + max((incomplete.rfind(separator) for separator in separators), default=-1)
    given, last = incomplete[:start], incomplete[start:]
    return [f"{given}{name}" for name in sorted(set(names)) if name.startswith(last)]
