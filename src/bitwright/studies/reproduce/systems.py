"""Systems whose published figures can be reproduced, by name."""

from collections.abc import Mapping

from bitwright.errors import unknown_name
from bitwright.studies.reproduce.claims import Claim
from bitwright.studies.reproduce.panacea.claims import CLAIMS as PANACEA

SYSTEMS: Mapping[str, tuple[Claim, ...]] = {"panacea": PANACEA}


def check_system(name: str) -> None:
    """Raise `InputError`, with the names that there are, for an unknown system."""
    if name not in SYSTEMS:
        raise unknown_name("system", name, SYSTEMS)
