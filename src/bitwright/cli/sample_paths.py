"""Samples are looked for before a network is loaded for them, which may take minutes."""

from pathlib import Path

from bitwright.errors import InputError


def look_for(
    *, data: str | Path | None = None, samples: str | None = None, calibration_from: str | None = None
) -> None:
    """Look whether the paths of samples are there; callables and sources are left to whoever asks them.

    Raises
    ------
    InputError
        Of the first path that is not.
    """
    from bitwright.networks.load import is_python_path
    from bitwright.tasks.sources import are_sources

    for flag, given in (("--data", data), ("--samples", samples), ("--calibration-from", calibration_from)):
        if given is None or is_python_path(str(given)) or (flag != "--data" and are_sources(str(given))):
            continue
        if not _is_there(Path(given)):
            raise InputError(
                f"there is no {given}, which {flag} names; give a path that is there"
                f"{'' if isinstance(given, Path) else ', or package.module:callable'}"
            )


def _is_there(path: Path) -> bool:
    """Whether something is at the path; names that no system takes are nowhere."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
