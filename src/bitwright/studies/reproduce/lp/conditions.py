"""What a figure was measured on, in words."""

from collections.abc import Mapping, Sequence

from bitwright.studies.reproduce.lp.arrays import Arrays, described
from bitwright.studies.reproduce.lp.measured import Measured
from bitwright.studies.reproduce.lp.mixes import MIXED, MIXES, MixOptions


def conditions(networks: Sequence[Measured], arrays: Arrays, options: MixOptions, name: str) -> dict[str, str]:
    """Of figures of the mix `mixed`, on the set of arrays `name`."""
    return {
        "networks": "; ".join(f"{network.network} ({network.input})" for network in networks),
        "mix": f"{MIXED}: {MIXES[MIXED]} ({options.in_words})",
        **on_arrays(arrays, name),
    }


def on_arrays(arrays: Arrays, name: str) -> dict[str, str]:
    """Of figures that depend on a set of arrays only."""
    first = next(iter(arrays[name].values()))
    logic = "synthesis where there is RTL, and " if first.prices == "synthesized" else ""
    return {
        "arrays": described(name, arrays[name]),
        "prices": f"ours, {first.technology.node_nm:g} nm, logic by {logic}{first.priced_by}",
    }


def failures(networks: Sequence[Measured]) -> str:
    """What went wrong with any of them; empty if nothing did."""
    return "; ".join(f"{network.network}: {network.reason}" for network in networks if network.reason)


def elsewhere(name: str, figures: Mapping[tuple[str, str], float]) -> str:
    """Figures by arrays and mix, but for those of `mixed` on the arrays `name`.

    Examples
    --------
    >>> elsewhere("8x8", {("8x8", "mixed"): 2.0, ("8x8", "8 bits"): 1.0})
    'Elsewhere: 8x8, 8 bits: 1.00.'
    """
    told = [
        f"{arrays}, {mix}: {figure:.2f}" for (arrays, mix), figure in figures.items() if (arrays, mix) != (name, MIXED)
    ]
    return f"Elsewhere: {'; '.join(told)}."
