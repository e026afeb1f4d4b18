"""The same accesses weighed as a published-style fit weighs them: a diagnostic, not prices of this project.

Others' reconstruction of the paper's energy model (its equations are not public) counts bytes and has two constants,
fitted to five published figures: a byte of DRAM is worth 22.5 bytes of SRAM, a multiply-accumulate 0.08. It leaves out
depthwise convolutions, and some layers besides. Weighing our accesses so tells what of a difference is prices, and
weighing its layers alone what is layers.
"""

import dataclasses
import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from bitwright.accelerators.events import BITS_PER_BYTE, PARTIAL_SUMS
from bitwright.accelerators.srams import srams_of
from bitwright.networks.sites import Site
from bitwright.studies.reproduce.apsq.figures import Figures
from bitwright.studies.reproduce.apsq.runs import Line, Run
from bitwright.words import counted

DRAM_BYTE = 22.5
MAC = 0.08
LEFT_OUT: Mapping[str, tuple[str, ...]] = {
    "segformer-b0": ("decode_head.*",),
    "llama2-7b": ("*:qk", "*:pv", "lm_head"),
}
"""By network, what the reconstruction leaves out beside depthwise convolutions, as globs on names of sites."""
ALL, LISTED = "all", "the reconstruction's"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Weighed:
    """Figures of a line in bytes of SRAM, over some of its layers.

    Attributes
    ----------
    layers : str
        `all`, or those that the reconstruction lists.
    dataflow, variant : str
        Of the line.
    figures : Figures
        Of those layers together.
    """

    layers: str
    dataflow: str
    variant: str
    figures: Figures


def weighed(network: str, lines: Iterable[Line]) -> Iterator[Weighed]:
    """Every line, with all layers and with those of the reconstruction, if there are any."""
    kept: dict[str, Callable[[Site], bool]] = {ALL: lambda _: True, LISTED: lambda site: listed(network, site)}
    for line in lines:
        for layers, wanted in kept.items():
            if any(wanted(entry.site) for entry in line.wide.simulation.sites):
                wide, psums = _energy(line.wide, wanted)
                figures = Figures(wide=wide, narrow=_energy(line.narrow, wanted)[0], psums=psums)
                yield Weighed(layers=layers, dataflow=line.dataflow, variant=line.variant, figures=figures)


def depthwise(site: Site) -> bool:
    """Whether a site is a convolution of every channel by itself."""
    return site.conv is not None and site.groups == site.conv.channels > 1


def listed(network: str, site: Site) -> bool:
    """Whether the reconstruction counts a site."""
    return not depthwise(site) and not any(fnmatch.fnmatchcase(site.name, glob) for glob in LEFT_OUT.get(network, ()))


def layers_of(network: str, sites: Sequence[Site]) -> str:
    """How many there are, and what of them the reconstruction leaves out."""
    separate = sum(depthwise(site) for site in sites)
    left = [*([counted(separate, "depthwise convolution")] if separate else []), *LEFT_OUT.get(network, ())]
    but = f", of which others' reconstruction leaves out {', '.join(left)}" if left else ""
    return f"{counted(len(sites), 'site')}{but}"


def _energy(run: Run, wanted: Callable[[Site], bool]) -> tuple[float, float]:
    """All, and partial sums' part."""
    total = psums = 0.0
    srams = srams_of(run.machine)
    for entry in run.simulation.sites:
        if not wanted(entry.site):
            continue
        total += MAC * entry.cost.macs_executed
        for event in entry.cost.events:
            if event.component == "dram":
                weighed_bytes = DRAM_BYTE * event.count / BITS_PER_BYTE
            elif event.component in srams:
                weighed_bytes = event.count * srams[event.component].word_bits / BITS_PER_BYTE
            else:
                continue
            total += weighed_bytes
            psums += weighed_bytes * event.name.endswith(PARTIAL_SUMS)
    return total, psums
