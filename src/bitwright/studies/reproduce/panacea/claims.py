"""What is said of Panacea, and what of it can be checked here.

The paper's text was not available: the figure is second-hand, the statements are those of its abstract.
"""

from bitwright.studies.reproduce.claims import Claim

ABSTRACT = "abstract of arXiv 2412.10059"

EFFICIENCY = Claim(
    claim="1.97x energy efficiency over Sibia",
    source="secondary: public paper lists; the network is not named",
    published=1.97,
    unit="x",
)
BOUND = Claim(
    claim="skipping both sides executes at most 2 / (2 - min(rho_w, rho_x)), so 2x, fewer slice products than one side",
    source="derived, not published: (2 - max) / 2 by (2 - rho_w)(2 - rho_x) / 4",
    published=2.0,
    unit="x",
    headline=False,
)
FREQUENT = Claim(
    claim="asymmetric activations have slices that are frequent and not zero: skipping those finds more than zeros",
    source=ABSTRACT,
    published=None,
    unit="points",
)
CENTRED = Claim(
    claim="zero-point manipulation (ZPM) raises the share of skipped activation vectors",
    source=ABSTRACT,
    published=None,
    unit="points",
)
SLICED = Claim(
    claim="distribution-based bit slicing (DBS) raises the share of skipped activation vectors",
    source=ABSTRACT,
    published=None,
    unit="points",
)
CLAIMS = (EFFICIENCY, BOUND, FREQUENT, CENTRED, SLICED)
