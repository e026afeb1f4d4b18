"""What is said of APSQ, and of which networks and dataflows it is asked here.

The paper's text was not available: figures are those of its abstract, or second-hand from a digest that says no more
about how they were measured. Each is asked once per variant of counting.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from bitwright.studies.reproduce.apsq.figures import Figures
from bitwright.studies.reproduce.apsq.runs import VARIANTS
from bitwright.studies.reproduce.claims import Claim

ABSTRACT = "abstract of arXiv 2505.03748 (DAC 2025)"
DIGEST = "a public digest of DAC 2025, secondary"
VISION = ("segformer-b0", "efficientvit-b1")
THREE = ("bert-base", *VISION)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """A claim about energy.

    Attributes
    ----------
    claim : Claim
        As published.
    networks, dataflows : tuple of str
        Whose figures it is about; it is asked only where all of the networks are measured.
    figure : callable
        Of one network and dataflow, in the claim's unit.
    choose : callable
        `min` or `max`: which of these figures the claim is about.
    """

    claim: Claim
    networks: tuple[str, ...]
    dataflows: tuple[str, ...]
    figure: Callable[[Figures], float]
    choose: Callable[..., Any]

    def counted(self, variant: str) -> Claim:
        """The claim as asked in a variant."""
        return dataclasses.replace(self.claim, claim=f"{self.claim.claim}; variant {variant}")


QUESTIONS = (
    Question(
        claim=Claim(
            claim="energy saved by INT8 partial sums, inputs stationary, least of BERT, Segformer, EfficientViT",
            source=DIGEST,
            published=28,
            unit="%",
        ),
        networks=THREE,
        dataflows=("is",),
        figure=lambda figures: figures.saving,
        choose=min,
    ),
    Question(
        claim=Claim(
            claim="energy saved by INT8 partial sums, inputs stationary, most of BERT, Segformer, EfficientViT",
            source=DIGEST,
            published=42,
            unit="%",
        ),
        networks=THREE,
        dataflows=("is",),
        figure=lambda figures: figures.saving,
        choose=max,
    ),
    Question(
        claim=Claim(
            claim="energy saved by INT8 partial sums, weights stationary, most of Segformer, EfficientViT",
            source=f"{ABSTRACT}: 28-87 %; which dataflow: {DIGEST}",
            published=87,
            unit="%",
        ),
        networks=VISION,
        dataflows=("ws",),
        figure=lambda figures: figures.saving,
        choose=max,
    ),
    Question(
        claim=Claim(
            claim="energy of INT32 by that of INT8 partial sums, weights stationary, LLaMA2-7B",
            source=DIGEST,
            published=31.7,
            unit="x",
        ),
        networks=("llama2-7b",),
        dataflows=("ws",),
        figure=lambda figures: figures.ratio,
        choose=max,
    ),
    Question(
        claim=Claim(
            claim="share of partial sums in energy, most of BERT, Segformer, EfficientViT",
            source=f"{ABSTRACT}: up to 69 % of the power; which network and dataflow it does not say",
            published=69,
            unit="%",
        ),
        networks=THREE,
        dataflows=("is", "ws"),
        figure=lambda figures: figures.share,
        choose=max,
    ),
)
AREA = Claim(claim="area that the RAE adds", source=DIGEST, published=3.21, unit="%")
ENGINE_UM2 = 86_410
"""Of the RAE, published by the same digest."""
CLAIMS = (*(question.counted(variant) for question in QUESTIONS for variant in VARIANTS), AREA)
NO_WEIGHTS = (
    "needs the trained network and its labelled data, which no package brings; what narrow partial sums do to a "
    "trained network here: bitwright train minilm-l6 --method int8+apsq, then bitwright evaluate minilm-l6 --plan ..."
)
ACCURACY = (
    Claim(
        claim="INT8 partial sums nearly lossless on BERT, Segformer, EfficientViT",
        source=ABSTRACT,
        published=None,
        unit="%",
        reason=NO_WEIGHTS,
    ),
    Claim(
        claim="accuracy lost with the best group size, BERT",
        source=DIGEST,
        published=0.16,
        unit="%",
        reason=NO_WEIGHTS,
    ),
    Claim(
        claim="mIoU lost with the best group size, Segformer",
        source=DIGEST,
        published=0.61,
        unit="%",
        reason=NO_WEIGHTS,
    ),
    Claim(
        claim="accuracy lost with the best group size, mean over tasks, LLaMA2-7B",
        source=DIGEST,
        published=0.59,
        unit="%",
        reason=NO_WEIGHTS,
    ),
)
"""Headlines about accuracy, which nothing here measures."""
