"""What a result was made with: versions, seed, command, so that it can be made again."""

import dataclasses
import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("bitwright", "torch", "numpy", "transformers")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Provenance:
    """Attributes: the command or call, the seed, versions by package, and the machine's platform."""

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
