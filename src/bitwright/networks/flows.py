"""Which activation each site reads and makes, and how long it is needed: what can stay on chip between sites.

An activation is made by a site, or where others are joined (a residual addition, a concatenation); an operator of one
activation hands it on. It is needed until the last site or joint that reads it. Time is counted in sites. A network's
are recorded while it runs once (`bitwright.networks.flow_record`).
"""

import dataclasses


@dataclasses.dataclass(kw_only=True)
class Activation:
    """One activation.

    Attributes
    ----------
    elements : int
        The most that it has on its way.
    born : int
        The site that made it, or the last one before the joint that did; -1: the network's input.
    last : int
        The last site that reads it, or the last one before the joint that does.
    streams : bool
        Whether all sites that read it read it as x; what is read as w comes through another memory.
    leaves : bool
        Whether it is the network's output, or comes from its input: then it crosses DRAM in any case.
    """

    elements: int
    born: int
    last: int = -1
    streams: bool = True
    leaves: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flows:
    """The activations of one forward pass.

    Attributes
    ----------
    activations : tuple of Activation
        In the order in which they were made.
    sites : tuple of str
        Names of sites as they ran.
    reads, makes : tuple of int
        By run of a site: the activation that is its x, and the one that its output is; -1: none.
    """

    sites: tuple[str, ...]
    activations: tuple[Activation, ...]
    reads: tuple[int, ...]
    makes: tuple[int, ...]
