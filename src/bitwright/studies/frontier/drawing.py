"""The picture of a study at equal accuracy: what is constrained against one cost, front, budget, a colour per system.

Costs are drawn in one SI unit on a logarithmic axis. What is far worse than the budget is cut off, so that what
matters fills the picture; a note says how many points lie beyond.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bitwright.shown import plotted
from bitwright.studies.frontier.axes import CostAxis, cost_axis
from bitwright.studies.frontier.points import OperatingPoint
from bitwright.studies.objectives import Objective
from bitwright.studies.palette import style_of
from bitwright.tasks.budget import Budget

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from bitwright.studies.frontier.result import Frontier

HEADROOM = 4.0  # budgets of loss that are in the picture
BELOW = 10.0  # dB below a budget of an SQNR that are in the picture
PAD = 0.25  # of the values in the picture, above and below them: two lines of a label
LETTERS = 28  # of a name in a picture


def draw(frontier: "Frontier", network: str, objective: Objective) -> "go.Figure":
    """What is constrained, in the unit that it is shown in, against `objective`."""
    import plotly.graph_objects as go

    budget = frontier.budget
    points = [point for point in frontier.points_of(network) if _drawn(point)]
    axis = cost_axis(objective, [point.value(objective) for point in points], " of one inference")
    figure = go.Figure()
    _add_front(
        figure, [each for each in frontier.front(network, objective.name) if _drawn(each)], objective, axis, budget
    )
    for i, system in enumerate(frontier.systems):
        own = [point for point in points if point.system == system]
        if own:
            shown = {id(each.best) for each in frontier.standings_of(network, objective.name)}
            figure.add_trace(go.Scatter(**_markers(own, system, objective, axis, i, shown, budget)))
    figure.add_hline(
        y=budget.limit * budget.constraint.scale,
        line={"dash": "dash", "width": 1.5, "color": "#d9534f"},
        annotation_text=f"budget {budget}",
    )
    _add_names(figure, frontier, network, objective, axis)
    lowest, highest, beyond = _range(points, budget)
    upward = budget.constraint.higher_is_better
    title = f"{budget.constraint.name if upward else 'relative loss'} [{budget.constraint.unit}]"
    side, where = ("upper", "less lie below") if upward else ("lower", "more loss lie above")
    hidden = f"; {beyond} with {where}" if beyond else ""
    figure.update_layout(
        margin={"l": 60, "r": 20, "t": 30, "b": 50},
        height=480,
        legend={"orientation": "h", "yanchor": "top", "y": -0.18, "x": 0, "itemsizing": "constant"},
        hovermode="closest",
        xaxis=axis.layout(),
        yaxis={"title": title, "range": [lowest, highest], "zeroline": not upward},
        annotations=[
            *figure.layout.annotations,
            {
                "text": f"{side} left is better{hidden}",
                "xref": "paper",
                "yref": "paper",
                "x": 0,
                "y": 1.06,
                "showarrow": False,
                "xanchor": "left",
            },
        ],
    )
    return figure


def _cost(point: OperatingPoint, objective: Objective, axis: CostAxis) -> float:
    return axis.of(point.value(objective) or 0.0)


def _drawn(point: OperatingPoint) -> bool:
    return point.comparable and point.judged is not None and math.isfinite(point.judged.value)


def _height(point: OperatingPoint, budget: Budget) -> float:
    """In the unit that the constraint is shown in."""
    assert point.judged is not None
    return budget.constraint.scale * point.judged.value


def _add_front(
    figure: "go.Figure", front: Sequence[OperatingPoint], objective: Objective, axis: CostAxis, budget: Budget
) -> None:
    import plotly.graph_objects as go

    figure.add_trace(
        go.Scatter(
            x=[_cost(point, objective, axis) for point in front],
            y=[_height(point, budget) for point in front],
            mode="lines",
            name="Pareto front",
            line={"shape": "hv", "color": "#8a8f98", "width": 2},
            hoverinfo="skip",
        )
    )


def _markers(
    own: Sequence[OperatingPoint],
    system: str,
    objective: Objective,
    axis: CostAxis,
    index: int,
    shown: set[int],
    budget: Budget,
) -> dict[str, Any]:
    """A system's points; the intervals of those on the front and of its best one are drawn, all can be read."""
    colour, symbol = style_of(index)
    scale, unit = budget.constraint.scale, budget.constraint.unit
    found = [point.judged for point in own if point.judged is not None]
    drawn = [objective.name in point.fronts or id(point) in shown for point in own]
    names = [f"{point.row.method} on {point.row.accelerator}" for point in own]
    return {
        "x": [_cost(point, objective, axis) for point in own],
        "y": [_height(point, budget) for point in own],
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [
                _bar(scale * (each.interval.high - each.value), seen) for each, seen in zip(found, drawn, strict=True)
            ],
            "arrayminus": [
                _bar(scale * (each.value - each.interval.low), seen) for each, seen in zip(found, drawn, strict=True)
            ],
            "thickness": 1,
            "width": 2,
            "color": _faded(colour),
        },
        "mode": "markers",
        "name": in_short(system),
        "text": [
            f"{plotted(name)}<br>{budget.constraint.name} {scale * each.value:.3g} [{scale * each.interval.low:.3g}, "
            f"{scale * each.interval.high:.3g}] {unit}"
            for name, each in zip(names, found, strict=True)
        ],
        "marker": {
            "color": colour,
            "symbol": symbol,
            "opacity": 1,
            "size": [13 if objective.name in point.fronts else 9 for point in own],
            "line": {"width": 1, "color": "#ffffff"},
        },
        "hovertemplate": f"%{{text}}<br>%{{x:,.4~g}} {axis.unit}<extra>{in_short(system)}</extra>",
    }


def _add_names(figure: "go.Figure", frontier: "Frontier", network: str, objective: Objective, axis: CostAxis) -> None:
    """Names at the cheapest point within the budget and the static yardstick, where there are any.

    Each lies towards the middle of the picture, that of the higher point above it and the other below.
    """
    standings = frontier.standings_of(network, objective.name)
    budget, yardstick = frontier.budget, frontier.baseline(network, objective.name)
    winner = standings[0].best if standings and standings[0].rank else None
    named = {id(point): (point, word) for point, word in ((yardstick, "best static"), (winner, "cheapest")) if point}
    seen = [
        (point, word)
        for point, word in sorted(named.values(), key=lambda each: -_height(each[0], budget))
        if _drawn(point) and _inside(point, budget) and _cost(point, objective, axis)
    ]
    for (point, word), down in zip(seen, (-1, 1), strict=False):
        right = axis.right(point.value(objective) or 0.0)
        figure.add_annotation(
            x=math.log10(_cost(point, objective, axis)),
            y=_height(point, budget),
            text=f"{word}: {in_short(point.row.method)}<br>on {in_short(point.row.accelerator)}",
            ax=-24 if right else 24,
            ay=34 * down,
            xanchor="right" if right else "left",
            align="right" if right else "left",
        )


def _inside(point: OperatingPoint, budget: Budget) -> bool:
    """Whether it is in the picture."""
    assert point.judged is not None
    if budget.constraint.higher_is_better:
        return point.judged.value >= budget.limit - BELOW
    return point.judged.value <= HEADROOM * budget.limit


def _range(points: Sequence[OperatingPoint], budget: Budget) -> tuple[float, float, int]:
    """Lowest and highest value of the picture, as shown, and how many points are beyond."""
    inside = [_height(point, budget) for point in points if _inside(point, budget)]
    limit = budget.limit * budget.constraint.scale
    ends = (limit - BELOW / 2, limit + BELOW / 2) if budget.constraint.higher_is_better else (0.0, 1.3 * limit)
    lowest, highest = min([ends[0], *inside]), max([ends[1], *inside])
    pad = PAD * (highest - lowest)
    return lowest - pad, highest + pad, len(points) - len(inside)


def _bar(length: float, seen: bool) -> float:
    """Length of half an interval, as shown; unbounded ones and those left out have none."""
    return length if seen and length < 1e6 else 0.0


def _faded(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.4)"


def in_short(text: str) -> str:
    """A name as a picture has room for it, escaped.

    Examples
    --------
    >>> in_short("int8"), in_short("mixed narrow_bits=4 budget=0.01 on panacea"), in_short("<b>")
    ('int8', 'mixed narrow_b…01 on panacea', '&lt;b&gt;')
    """
    half = (LETTERS - 1) // 2
    return plotted(text if len(text) <= LETTERS else f"{text[: LETTERS - 1 - half]}…{text[-half:]}")
