"""How candidates are made: at random, by mating two within a block, and by an allotment of bits from a profile.

Sourced: a candidate is [n, es, rs, sf] for every layer; the two best make a child in one block by crossover and
mutation; random parents are mated with the child. Recollected: whole-number fields are drawn between the parents' with
a slack of 1, sf is the parents' mean and a little noise. Ours: some layers take the fields of least error for their new
width instead, and a child over the cap on mean width is narrowed at random layers of its block.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from bitwright.formats import RegimeRule
from bitwright.methods.lpq.fields import Fields, tables
from bitwright.methods.lpq.search.settings import SearchSettings
from bitwright.methods.lpq.sites import Sites

Candidate = dict[str, Fields]
Loss = Mapping[tuple[str, int], float]


class Maker:
    """Makes candidates of one network.

    Parameters
    ----------
    sites : Sites
        The layers.
    settings : SearchSettings
        Widths, cap, slack.
    """

    def __init__(self, sites: Sites, settings: SearchSettings) -> None:
        self.sites, self.settings = sites, settings
        self.elements = {name: sites.elements(name) for name in sites.weighted}

    def uniform(self, n: int) -> Candidate:
        """Every layer at `n` bits, by least error."""
        return {name: self.sites.least(name, n) for name in self.sites.weighted}

    def random(self, rng: np.random.Generator, names: Sequence[str] | None = None) -> Candidate:
        """Layers `names` at random widths, with fields of least error or tables at random around them."""
        return {name: self._random_fields(rng, name) for name in names or self.sites.weighted}

    def mate(
        self, rng: np.random.Generator, base: Candidate, other: Mapping[str, Fields], names: Sequence[str]
    ) -> Candidate:
        """`base` whose layers `names` are drawn between it and `other`."""
        return {**base, **{name: self._between(rng, name, base[name], other[name]) for name in names}}

    def capped(self, rng: np.random.Generator, candidate: Candidate, names: Sequence[str]) -> Candidate | None:
        """`candidate` with some of the layers `names` narrowed until it respects the cap; None if they cannot."""
        cap = self.settings.mean_bits
        if cap is None:
            return candidate
        found = dict(candidate)
        while self.sites.mean_bits(found) > cap:
            wide = [name for name in names if found[name].n > min(self.settings.allowed)]
            if not wide:
                return None
            name = wide[int(rng.integers(len(wide)))]
            found[name] = self.sites.least(name, max(n for n in self.settings.allowed if n < found[name].n))
        return found

    def allotted(self, loss: Loss, mean_bits: float) -> Candidate:
        """Widths of at most `mean_bits` on average that add least loss, if losses of single layers add up.

        Starting at the narrowest, the layer whose next width gains most per bit is widened while it fits; a width
        that gains less than a wider one is passed over.
        """
        allowed = sorted(self.settings.allowed)
        width = dict.fromkeys(self.sites.weighted, allowed[0])
        room = (mean_bits - allowed[0]) * sum(self.elements.values())
        while True:
            steps = [
                ((loss[name, width[name]] - loss[name, n]) / ((n - width[name]) * self.elements[name]), name, n)
                for name in width
                for n in allowed
                if n > width[name] and (n - width[name]) * self.elements[name] <= room
            ]
            if not steps:
                break
            gain, name, n = max(steps)
            if gain <= 0:
                break
            room -= (n - width[name]) * self.elements[name]
            width[name] = n
        return {name: self.sites.least(name, n) for name, n in width.items()}

    def _random_fields(self, rng: np.random.Generator, name: str) -> Fields:
        allowed = self.settings.allowed
        n = allowed[int(rng.integers(len(allowed)))]
        least = self.sites.least(name, n)
        if rng.random() < self.settings.refit:
            return least
        at = self.sites.options.at(name)
        choices = tables(n, at.max_es, at.regime)
        es, rs = choices[int(rng.integers(len(choices)))]
        return Fields(n=n, es=es, rs=rs, sf=least.sf + float(rng.uniform(-1, 1)))

    def _between(self, rng: np.random.Generator, name: str, one: Fields, other: Fields) -> Fields:
        n = self._width(rng, one.n, other.n)
        if n != one.n and rng.random() < self.settings.refit:
            return self.sites.least(name, n)
        at = self.sites.options.at(name)
        es = min(_drawn(rng, one.es, other.es), max(0, n - 3), at.max_es)
        rs = min(_drawn(rng, one.rs, other.rs), n - 1)
        sf = (one.sf + other.sf) / 2 + float(rng.uniform(-1, 1)) * self.settings.sf_step
        shortest = 2 if at.regime == RegimeRule.TERMINATED and n > 2 else 1
        return canonical(Fields(n=n, es=max(0, es), rs=max(shortest, rs), sf=sf))

    def _width(self, rng: np.random.Generator, one: int, other: int) -> int:
        """A width between two, with a slack of one allowed width."""
        allowed = sorted(self.settings.allowed)
        low, high = sorted((allowed.index(one), allowed.index(other)))
        return allowed[int(rng.integers(max(0, low - 1), min(len(allowed) - 1, high + 1) + 1))]


def canonical(fields: Fields) -> Fields:
    """The same table by the smaller es: <n, es, 1> is <n, es - 1, 2>, and every table of 2 bits is one.

    Examples
    --------
    >>> canonical(Fields(n=6, es=2, rs=1, sf=0.5))
    Fields(n=6, es=1, rs=2, sf=0.5)
    """
    if fields.n == 2:
        return Fields(n=2, es=0, rs=1, sf=fields.sf)
    if fields.rs == 1 and fields.es > 0:
        return Fields(n=fields.n, es=fields.es - 1, rs=2, sf=fields.sf)
    return fields


def _drawn(rng: np.random.Generator, one: int, other: int) -> int:
    """A whole number between two, with a slack of 1."""
    low, high = sorted((one, other))
    return int(rng.integers(low - 1, high + 2))
