"""All systems at once: every published headline beside what is measured here.

Each system measures the networks of its `brief`: shapes where shapes decide, few samples where numbers do. What stops
one system is said in its rows, and the others go on.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bitwright.networks.network import Network
from bitwright.studies.machines import COMMON
from bitwright.studies.provenance import Provenance
from bitwright.studies.reproduce.claims import Claim, Claimed
from bitwright.studies.reproduce.systems import System
from bitwright.studies.row import said
from bitwright.tasks.evaluate import Progress, silent

Load = Callable[..., Network]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    """What one system has to show.

    Attributes
    ----------
    system : str
        Its name.
    headlines : tuple of Claim
        In its order, those that nothing here measures last.
    others : int
        Claims that are no headlines: what `reproduce SYSTEM` shows beyond these.
    networks : tuple of str
        What was measured.
    failures : tuple of str
        What went wrong; empty otherwise.
    """

    system: str
    headlines: tuple[Claim, ...]
    others: int = 0
    networks: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Overview(Claimed):
    """All systems on one substrate.

    Attributes
    ----------
    sections : tuple of Section
        In the order of the systems.
    substrate : str
        What the machines stand on.
    full : bool
        Whether each system measured all networks of its own, with as many samples as it does alone.
    provenance : Provenance
        Command, seed, versions.
    """

    sections: tuple[Section, ...]
    substrate: str
    full: bool
    provenance: Provenance

    def by_system(self) -> Mapping[str, Sequence[Claim]]:
        """Headlines of each."""
        return {section.system: section.headlines for section in self.sections}

    @property
    def failed(self) -> bool:
        """Whether anything is missing that should be there."""
        return any(section.failures for section in self.sections)


def overview(
    systems: Sequence[System],
    load: Load,
    *,
    provenance: Provenance,
    given: Mapping[str, Any] | None = None,
    substrate: str = COMMON,
    full: bool = False,
    progress: Progress = silent,
) -> Overview:
    """Reproduce every system.

    Parameters
    ----------
    systems
        Which, in which order.
    load
        (name, **sizes) -> a network.
    given
        Settings that reach the systems that have them; None is not given.
    substrate
        That all machines are built on.
    full
        All networks of each system and its own numbers of samples, instead of its `brief`.

    Raises
    ------
    InputError
        An unknown substrate. Whatever else goes wrong is a failure of one section.
    """
    return Overview(
        sections=tuple(
            _section(system, load, given or {}, provenance, substrate, full, progress) for system in systems
        ),
        substrate=substrate,
        full=full,
        provenance=provenance,
    )


def _section(
    system: System,
    load: Load,
    given: Mapping[str, Any],
    provenance: Provenance,
    substrate: str,
    full: bool,
    progress: Progress,
) -> Section:
    names = system.models if full or system.brief is None else system.brief
    machines = system.machines({}, substrate)
    try:
        known = {field.name for field in dataclasses.fields(system.settings)}
        wanted = {**({} if full else system.samples), **{key: each for key, each in given.items() if each is not None}}
        found = system.reproduce(
            [load(name, **sizes) for name, sizes in names.items()],
            machines,
            settings=system.settings_from({key: each for key, each in wanted.items() if key in known}),
            provenance=provenance,
            substrate=substrate,
            progress=functools.partial(_told, progress, system.name),
        )
    except Exception as error:
        reason = said(error)
        missing = tuple(claim.found(None, {}, reason) for claim in system.claims)
        return _sorted(system, missing, tuple(names), (reason,))
    failures = tuple(f"{each.network}: {_why(each)}" for each in found.networks if each.failed)
    return _sorted(system, found.claims, tuple(names), failures)


def _sorted(system: System, claims: Sequence[Claim], networks: tuple[str, ...], failures: tuple[str, ...]) -> Section:
    headlines = tuple(claim for claim in claims if claim.headline)
    return Section(
        system=system.name,
        headlines=(*headlines, *system.unmeasured),
        others=len(claims) - len(headlines),
        networks=networks,
        failures=failures,
    )


def _told(progress: Progress, system: str, stage: str, done: int, total: int) -> None:
    progress(f"{system}: {stage}", done, total)


def _why(network: Any) -> str:
    """A network may have failed in part; then its rows say of which."""
    return network.reason or "a part of it failed, as its rows say"
