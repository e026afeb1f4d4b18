"""A search of a network's formats: calibrated and judged on samples that are always there, and what came of it."""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypedDict

from bitwright.errors import InputError
from bitwright.methods.lpq.options import LpqOptions
from bitwright.methods.lpq.search import Found, SearchSettings, search
from bitwright.methods.plan import Plan
from bitwright.methods.protocol import compose
from bitwright.networks.network import Network
from bitwright.shown import Headline, Table, Tabled
from bitwright.studies.judging import judged
from bitwright.tasks.evaluate import Evaluation, Progress, silent
from bitwright.tasks.samples import default_samples
from bitwright.units import number, scaled
from bitwright.words import counted

if TYPE_CHECKING:
    import plotly.graph_objects as go

SEARCHED = "lpq"
INTERRUPTED = "interrupted"  # why a search or a training stopped
COUNTS = {"image": 64, "sentence": 64, "language": 8, "tensor": 64}  # our choice; recollected: 128 images


class BestLine(TypedDict):
    """The best candidate after an iteration."""

    evaluations: Annotated[int, "candidates judged so far"]
    fitness: Annotated[float, "lower is better: the loss, times mean_bits to the power of compression"]
    loss: Annotated[float, "of the objective"]
    mean_bits: Annotated[float, "of the weights' elements"]


class LayerFields(TypedDict):
    """The log posit of a layer's weight."""

    n: Annotated[int, "bits of a word"]
    es: Annotated[int, "exponent bits"]
    rs: Annotated[int, "largest run of the regime"]
    sf: Annotated[float, "scaling exponent: the dense part lies around |x| = 2^-sf"]
    elements: Annotated[int, "of the weight"]


class LayerLine(LayerFields):
    """A layer, with its format."""

    site: Annotated[str, "its name"]


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Search(Tabled):
    """One search; `.plan` is the best one, `.frame()` how it came about, `.plot()` the same as a picture.

    Frames: `history`, a line for the best candidate after every iteration; `layers`, one per weight, with its format.

    Attributes
    ----------
    network : str
        Its name.
    found : Found
        The plan and how it came about.
    settings : SearchSettings
        Objective, widths, constants.
    samples : str
        What candidates were judged on.
    mean_bits : float
        Of the weights' elements.
    widths : mapping
        Bits -> elements of weights that have them.
    workers : int
        Processes.
    judged : Evaluation, str or None
        The plan on samples that chose nothing, or why it was not judged; None where the search was interrupted.
    """

    TABLES: ClassVar[Mapping[str, Table]] = {
        "history": Table(BestLine, lambda search: search.history),
        "layers": Table(LayerLine, lambda search: search._layer_lines()),
    }

    network: str
    found: Found
    settings: SearchSettings
    samples: str
    mean_bits: float
    widths: Mapping[int, int]
    workers: int
    judged: Evaluation | str | None

    @property
    def plan(self) -> Plan:
        """Of the best candidate."""
        return self.found.plan

    def headline(self) -> Headline:
        """Fitness and mean width of the best candidate, and how many there were."""
        best, found = self.found.history[-1], self.found
        figures = [
            ("fitness", number(best.fitness)),
            ("loss", number(best.loss)),
            ("weights", f"{self.mean_bits:.3f} bits on average"),
            ("candidates", f"{found.evaluations:,} in {scaled(found.seconds, 's')}, {found.remembered:,} from a log"),
            ("stopped by", found.stopped),
            ("samples", self.samples),
        ]
        return Headline(f"{self.network}, {found.plan.method}, objective {self.settings.objective}", figures)

    @property
    def history(self) -> list[BestLine]:
        """The best candidate after every iteration."""
        return [
            {
                "evaluations": best.evaluations,
                "fitness": best.fitness,
                "loss": best.loss,
                "mean_bits": best.mean_bits,
            }
            for best in self.found.history
        ]

    @property
    def layers(self) -> dict[str, LayerFields]:
        """Site -> the format of its weight."""
        found = self.found
        return {
            name: {"n": each.n, "es": each.es, "rs": each.rs, "sf": each.sf, "elements": found.elements[name]}
            for name, each in found.fields.items()
        }

    def _layer_lines(self) -> Iterator[LayerLine]:
        for name, fields in self.layers.items():
            yield {"site": name, **fields}

    def plot(self) -> "go.Figure":
        """Fitness of the best candidate over the number of candidates judged, as a plotly figure."""
        import plotly.graph_objects as go

        seen = [best.evaluations for best in self.found.history]
        figure = go.Figure(go.Scatter(x=seen, y=[best.fitness for best in self.found.history], line={"shape": "hv"}))
        figure.update_layout(xaxis={"title": "candidates judged"}, yaxis={"title": "fitness, lower is better"})
        return figure


def search_network(
    network: Network,
    method: str,
    settings: SearchSettings,
    *,
    options: Mapping[str, Any] | None = None,
    calibration_count: int | None = None,
    log: Path | None = None,
    resume: bool = False,
    workers: int = 1,
    minutes: float = float("inf"),
    progress: Progress = silent,
) -> Search:
    """Search formats for `network`.

    Raises
    ------
    InputError
        A method that has no search, a network with shapes only, or a log that does not fit.
    """
    composition = compose(method, options)
    name, _, chosen = composition.methods[0]
    if len(composition.methods) > 1 or not isinstance(chosen, LpqOptions):
        raise InputError(f"{method} has no search; bitwright search takes --method {SEARCHED}")
    if chosen.rotation != "none":
        raise InputError(f"a search rotates nothing, and rotation is {chosen.rotation}; leave that out")
    if network.shape_only:
        raise InputError(f"{network.name} has shapes only; a search needs its weights")
    count = calibration_count or COUNTS.get(network.kind, 1)
    samples = default_samples(network, count=count, seed=settings.seed)
    found = search(
        network,
        samples.batches,
        chosen,
        settings,
        Plan(method=method, options={name: chosen.model_dump(mode="json")}),
        log=log,
        resume=resume,
        workers=workers,
        minutes=minutes,
        samples=samples.description,
        progress=progress,
    )
    seen = found.evaluations + found.remembered
    described = f"{samples.description}; searched among {counted(seen, 'candidate')} on the same"
    widths: Counter[int] = Counter()
    for layer, fields in found.fields.items():
        widths[fields.n] += found.elements[layer]
    plan = dataclasses.replace(found.plan, calibrated_on=described)
    ended = found.stopped != INTERRUPTED
    return Search(
        network=network.name,
        judged=judged(network, plan, seed=settings.seed, progress=progress) if ended else None,
        found=dataclasses.replace(found, plan=plan),
        settings=settings,
        samples=samples.description,
        mean_bits=found.history[-1].mean_bits,
        widths=dict(sorted(widths.items())),
        workers=workers,
    )
