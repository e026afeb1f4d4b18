"""What is said of LPA and its rivals.

The paper's text was not available: figures are those of its abstract, and of charts of the authors' DAC 2024 poster,
read off by their pixels (areas, throughputs within 0.3 %; latencies and energies within 0.01).
"""

import dataclasses
from collections.abc import Mapping

from bitwright.studies.reproduce.claims import Claim

ABSTRACT = "abstract of arXiv 2403.05465 (DAC 2024)"
CHART = "chart of the authors' DAC 2024 poster, read off within 0.3 %"
BARS = "chart of the authors' DAC 2024 poster, AdaptivFloat being 1, read off within 0.01"
TYPES = "chart of PE types of the authors' DAC 2024 poster, read off within 0.03 TOPS/mm2"
NAMES: Mapping[str, str] = {
    "lpa": "LPA",
    "ant": "ANT",
    "bitfusion": "BitFusion",
    "adaptivfloat": "AdaptivFloat",
}
CHARTED_PES = 64
"""PEs of each machine behind the charts of area and throughput, inferred: AdaptivFloat's 64.0 GOPS at 500 MHz."""
RESNET50, VIT = "resnet50", "vit-base"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Charted:
    """One machine in the poster's charts of compute area and throughput."""

    area_mm2: float
    gops: float
    tops_per_mm2: float

    @property
    def rate(self) -> float:
        """Products of a PE per cycle at 500 MHz."""
        return self.gops / CHARTED_PES


CHARTED: Mapping[str, Charted] = {
    "lpa": Charted(area_mm2=0.01208, gops=203.4, tops_per_mm2=16.85),
    "ant": Charted(area_mm2=0.00511, gops=45.1, tops_per_mm2=8.82),
    "bitfusion": Charted(area_mm2=0.00509, gops=44.2, tops_per_mm2=8.67),
    "adaptivfloat": Charted(area_mm2=0.02336, gops=64.0, tops_per_mm2=2.74),
}
LATENCY: Mapping[str, Mapping[str, float]] = {
    RESNET50: {"lpa": 0.24, "ant": 0.30, "bitfusion": 0.58},
    VIT: {"lpa": 0.39, "ant": 0.42, "bitfusion": 0.85},
}
ENERGY: Mapping[str, Mapping[str, float]] = {
    RESNET50: {"lpa": 0.48, "ant": 0.41, "bitfusion": 0.60},
    VIT: {"lpa": 0.50, "ant": 0.47, "bitfusion": 0.93},
}
KINDS: Mapping[str, float] = {"LP": 0.006, "posit": 0.0215, "AdaptivFloat": 0.015, "LNS": 0.022, "integer": 0.0495}
"""Medians of the poster's box plot of RMSE by data type, read off within 0.001."""
WIDE_ONLY, NARROW_ONLY = "LPA-8", "LPA-2"
PE_TYPES: Mapping[str, float] = {WIDE_ONLY: 6.99, NARROW_ONLY: 23.8, "Posit-2/4/8": 3.16}

AREAS = {
    name: Claim(
        claim=f"compute area of {NAMES[name]}", source=CHART, published=each.area_mm2, unit="mm2", headline=False
    )
    for name, each in CHARTED.items()
}
THROUGHPUTS = {
    name: Claim(claim=f"throughput of {NAMES[name]}", source=CHART, published=each.gops, unit="GOPS", headline=False)
    for name, each in CHARTED.items()
}
DENSITIES = {
    name: Claim(
        claim=f"throughput of {NAMES[name]} by its compute area",
        source=f"{CHART}, one by the other",
        published=each.tops_per_mm2,
        unit="TOPS/mm2",
        headline=False,
    )
    for name, each in CHARTED.items()
}
TYPE_DENSITIES = {
    name: Claim(
        claim=f"throughput by compute area of {name} PEs",
        source=TYPES,
        published=figure,
        unit="TOPS/mm2",
        headline=False,
    )
    for name, figure in PE_TYPES.items()
}
DENSITY_RATIO = Claim(
    claim="throughput by area of LPA by that of ANT", source=f"{ABSTRACT}: about 2x", published=2, unit="x"
)
THROUGHPUT_RATIO = Claim(
    claim="throughput of LPA by that of ANT, at a modest increase of area",
    source="words of the authors' DAC 2024 poster",
    published=5,
    unit="x",
)
AREA_RATIO = Claim(
    claim="compute area of LPA by that of ANT", source=f"{CHART}, one by the other", published=2.36, unit="x"
)
LATENCIES = {
    (network, name): Claim(
        claim=f"latency of {NAMES[name]} by that of AdaptivFloat, {network}",
        source=BARS,
        published=figure,
        unit="x",
        headline=False,
    )
    for network, figures in LATENCY.items()
    for name, figure in figures.items()
}
ENERGIES = {
    (network, name): Claim(
        claim=f"energy of {NAMES[name]} by that of AdaptivFloat, {network}",
        source=BARS,
        published=figure,
        unit="x",
        headline=False,
    )
    for network, figures in ENERGY.items()
    for name, figure in figures.items()
}
ENERGY_RATIOS = {
    RESNET50: Claim(
        claim="energy of LPA by that of ANT, resnet50", source=f"{BARS}; one by the other", published=1.17, unit="x"
    ),
    VIT: Claim(
        claim="energy of LPA by that of ANT, vit-base", source=f"{BARS}; one by the other", published=1.06, unit="x"
    ),
}
EFFICIENCY = Claim(
    claim="energy efficiency of LPA by that of the others, mean over machines and networks",
    source=f"{ABSTRACT}: 2.2x than other quantization accelerators; on what basis it does not say",
    published=2.2,
    unit="x",
)
REDUCTION = Claim(
    claim="latency that LPA saves, mean over the others and networks",
    source="words of the authors' DAC 2024 poster: 40 % on average",
    published=40,
    unit="%",
)
ERRORS = {
    kind: Claim(
        claim=f"RMSE of weights in {kind}, median",
        source="box plot of the authors' posters, read off within 0.001",
        published=figure,
        unit="",
        headline=False,
    )
    for kind, figure in KINDS.items()
}
OF_THROUGHPUT = (*THROUGHPUTS.values(), *DENSITIES.values(), DENSITY_RATIO, THROUGHPUT_RATIO, AREA_RATIO)
"""Asked of ResNet-50."""
CLAIMS = (
    *AREAS.values(),
    *OF_THROUGHPUT,
    *TYPE_DENSITIES.values(),
    *(
        claim
        for network in LATENCY
        for claim in (
            *(LATENCIES[network, name] for name in LATENCY[network]),
            *(ENERGIES[network, name] for name in ENERGY[network]),
            ENERGY_RATIOS[network],
        )
    ),
    EFFICIENCY,
    REDUCTION,
    *ERRORS.values(),
)
ACCURACY = (
    Claim(
        claim="top-1 lost by LPQ, mean over CNNs and vision transformers",
        source=f"{ABSTRACT}: below 1 %",
        published=1,
        unit="%",
        reason="needs trained ResNets and vision transformers and ImageNet, which no package brings; on a trained CNN "
        "here: bitwright search efficientnet-lite0 --method lpq --save-plan lp, then bitwright evaluate "
        "efficientnet-lite0 --plan lp --task top1 --data FOLDER",
    ),
)
"""A headline about accuracy, which nothing here measures."""
