"""Pictures as plotly's data: fronts, trade-offs, heat maps of what is skipped or narrow, histograms of formats."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from bitwright.formats import Format
from bitwright.methods.plan import OperandPlan
from bitwright.reports.page.layers import Costed, along, short, site_names
from bitwright.shown import plotted
from bitwright.studies.drawing import draw_scores
from bitwright.studies.frontier import Frontier
from bitwright.studies.frontier.drawing import in_short
from bitwright.studies.objectives import OBJECTIVES
from bitwright.studies.palette import style_of
from bitwright.studies.row import Row
from bitwright.studies.simulate import SiteCost
from bitwright.words import counted

FORMATS_SHOWN = 12
BAR_HEIGHT = 26
FIELDS = ("es", "rs", "exponent_bits", "split")
"""What tells formats of one name apart."""

Figure = dict[str, Any]


def fronts(frontier: Frontier, network: str) -> list[Figure]:
    """Loss against every objective, with its front."""
    return [
        {"title": f"Loss x {objective.title}", **drawn(frontier.plot(network, objective.name))}
        for objective in OBJECTIVES
    ]


def drawn(figure: Any) -> Figure:
    """A plotly figure's data and layout; colours of text and ground are the page's."""
    found: Figure = figure.to_plotly_json()
    found["layout"].pop("template", None)
    return {"data": found["data"], "layout": found["layout"]}


def tradeoffs(rows: Sequence[Row]) -> list[Figure]:
    """Score against every objective, of the rows that are ok."""
    known = [row for row in rows if row.evaluation is not None and row.simulation is not None]
    if not any(row.status == "ok" for row in known):
        return []
    metric = known[0].evaluation.score.metric if known[0].evaluation else ""
    return [
        {"title": f"{metric} x {objective.title}", **drawn(draw_scores(known, objective))} for objective in OBJECTIVES
    ]


def _named(names: Sequence[str]) -> dict[str, Any]:
    """An axis of names, the first on top, each as long as a picture has room for."""
    return {
        "type": "category",
        "automargin": True,
        "autorange": "reversed",
        "tickvals": [plotted(name) for name in names],
        "ticktext": [in_short(name) for name in names],
    }


def heat_maps(points: Sequence[Costed]) -> list[Figure]:
    """Shares by site and point: multiply-accumulates that are skipped, vectors, narrow operands."""
    kinds: list[tuple[str, Callable[[SiteCost], float | None]]] = [
        ("multiply-accumulates skipped", lambda entry: entry.cost.macs_skipped / max(entry.cost.macs_dense, 1)),
        ("activation vectors that can be skipped", lambda entry: entry.shares.x_skipped),
        ("weight vectors that can be skipped", lambda entry: entry.shares.w_skipped),
        ("work with activations of at most 4 bits (class share)", lambda entry: _narrow(entry, 0)),
        ("work with weights of at most 4 bits (class share)", lambda entry: _narrow(entry, 1)),
    ]
    names = site_names(points)
    found = [_heat_map(title, points, names, get) for title, get in kinds]
    return [each for each in found if each is not None]


def _narrow(entry: SiteCost, operand: int) -> float | None:
    if not entry.shares.classes:
        return None
    return sum(share for name, share in entry.shares.classes.items() if name.split(" x ")[operand] == "4")


def _heat_map(
    title: str, points: Sequence[Costed], names: Sequence[str], get: Callable[[SiteCost], float | None]
) -> Figure | None:
    rows = [(point.name, [None if v is None else short(100 * v) for v in along(point, names, get)]) for point in points]
    rows = [(name, values) for name, values in rows if any(values)]
    if not rows:
        return None
    return {
        "title": title,
        "data": [
            {
                "type": "heatmap",
                "x": [plotted(name) for name in names],
                "y": [plotted(name) for name, _ in rows],
                "z": [values for _, values in rows],
                "zmin": 0,
                "zmax": 100,
                "colorscale": "Viridis",
                "colorbar": {"ticksuffix": " %", "thickness": 12},
                "hovertemplate": "%{y}<br>%{x}<br>%{z:.3g} %<extra></extra>",
                "xgap": 1 if len(names) < 80 else 0,
                "ygap": 1,
            }
        ],
        "layout": {
            "height": 170 + BAR_HEIGHT * len(rows),
            "margin": {"l": 10, "r": 24, "t": 10, "b": 60},
            "xaxis": {
                "type": "category",
                "showticklabels": False,
                "ticks": "",
                "title": {"text": f"{counted(len(names), 'site')} in the order of execution"},
            },
            "yaxis": _named([name for name, _ in rows]),
        },
    }


def formats(points: Sequence[Costed]) -> list[Figure]:
    """Histograms of number formats by share of the multiply-accumulates, one bar per method."""
    plans = list({point.method: point for point in points}.values())
    return [
        _histogram("activations x weights", plans, lambda entry: f"{entry.plan.x_type} x {entry.plan.w_type}"),
        _histogram("formats of weights", plans, lambda entry: _full(entry.plan.w)),
        _histogram("formats of activations", plans, lambda entry: _full(entry.plan.x)),
    ]


def _full(operand: OperandPlan | None) -> str:
    """A format's name with what else it has."""
    if operand is None:
        return "float32"
    fmt: Format = operand.format
    fields: set[str] = {field.name for field in dataclasses.fields(fmt)} if dataclasses.is_dataclass(fmt) else set()
    return " ".join([fmt.name, *(f"{name}={getattr(fmt, name)}" for name in FIELDS if name in fields)])


def _histogram(title: str, points: Sequence[Costed], get: Callable[[SiteCost], str]) -> Figure:
    shares: dict[str, list[float]] = {}
    for i, point in enumerate(points):
        total = max(sum(entry.site.macs for entry in point.simulation.sites), 1)
        for entry in point.simulation.sites:
            shares.setdefault(get(entry), [0.0] * len(points))[i] += 100 * entry.site.macs / total
    ordered = sorted(shares, key=lambda name: -sum(shares[name]))
    shown, rest = ordered[:FORMATS_SHOWN], ordered[FORMATS_SHOWN:]
    bars = [(name, shares[name]) for name in shown]
    if rest:
        bars.append(
            (f"{counted(len(rest), 'other')}", [sum(shares[name][i] for name in rest) for i in range(len(points))])
        )
    return {
        "title": title,
        "data": [
            {
                "type": "bar",
                "orientation": "h",
                "name": in_short(name),
                "y": [plotted(point.method) for point in points],
                "x": [short(value) for value in values],
                "marker": {"color": style_of(i + 1)[0], "opacity": 1 if i < 10 else 0.6},
                "hovertemplate": f"%{{y}}<br>{plotted(name)}: %{{x:.3g}} % of the products<extra></extra>",
            }
            for i, (name, values) in enumerate(bars)
        ],
        "layout": {
            "barmode": "stack",
            "height": 150 + BAR_HEIGHT * len(points) + 12 * len(bars),
            "margin": {"l": 10, "r": 24, "t": 10, "b": 40},
            "xaxis": {"title": {"text": "share of products [%]"}, "range": [0, 100]},
            "yaxis": _named([point.method for point in points]),
            "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.01, "x": 0, "traceorder": "normal"},
        },
    }
