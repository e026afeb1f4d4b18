"""What a result was made with: versions, seed, command, so that it can be made again."""

import dataclasses
import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("bitwright", "torch", "numpy", "transformers")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Provenance:
    """What a result was made with.

    Attributes
    ----------
    command : str
        As it was typed, or the call.
    seed : int
        Of everything that is drawn.
    versions : dict of str
        By package, of Python and of what decides numbers.
    platform : str
        The computer's operating system and processor.
    """

    command: str
    seed: int
    versions: dict[str, str]
    platform: str


def provenance(command: str, seed: int) -> Provenance:
    """The provenance of what `command` gives now."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return Provenance(command=command, seed=seed, versions=found, platform=platform.platform())
