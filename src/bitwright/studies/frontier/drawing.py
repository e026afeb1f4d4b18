"""The picture of a study at equal accuracy: loss against one cost, the front, the budget, a colour per system.

Costs are drawn in one SI unit on a logarithmic axis. Losses are cut off well above the budget, so that what
matters fills the picture; a note says how many points lie beyond.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bitwright.studies.frontier.axes import CostAxis, cost_axis
from bitwright.studies.frontier.points import OperatingPoint
from bitwright.studies.objectives import Objective
from bitwright.studies.palette import style_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from bitwright.studies.frontier.result import Frontier

HEADROOM = 4.0  # budgets above the budget that are in the picture
PAD = 0.25  # of the losses in the picture, above and below them: two lines of a label
LETTERS = 28  # of a name in a picture


def draw(frontier: "Frontier", network: str, objective: Objective) -> "go.Figure":
    """Loss in percent against `objective`."""
    import plotly.graph_objects as go

    points = [point for point in frontier.points_of(network) if point.comparable]
    axis = cost_axis(objective, [point.value(objective) for point in points], " of one inference")
    figure = go.Figure()
    _add_front(figure, frontier.front(network, objective.name), objective, axis)
    for i, system in enumerate(frontier.systems):
        own = [point for point in points if point.system == system]
        if own:
            shown = {id(each.best) for each in frontier.standings_of(network, objective.name)}
            figure.add_trace(go.Scatter(**_markers(own, system, objective, axis, i, shown)))
    budget = 100 * frontier.budget
    figure.add_hline(
        y=budget, line={"dash": "dash", "width": 1.5, "color": "#d9534f"}, annotation_text=f"budget {budget:g} %"
    )
    _add_names(figure, frontier, network, objective, axis)
    lowest, highest, beyond = _range(points, budget)
    above = f"; {beyond} with more loss lie above" if beyond else ""
    figure.update_layout(
        margin={"l": 60, "r": 20, "t": 30, "b": 50},
        height=480,
        legend={"orientation": "h", "yanchor": "top", "y": -0.18, "x": 0, "itemsizing": "constant"},
        hovermode="closest",
        xaxis=axis.layout(),
        yaxis={"title": "relative loss [%]", "range": [lowest, highest], "zeroline": True},
        annotations=[
            *figure.layout.annotations,
            {
                "text": f"lower left is better{above}",
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


def _loss(point: OperatingPoint) -> float:
    assert point.loss is not None
    return 100 * point.loss.value


def _add_front(figure: "go.Figure", front: Sequence[OperatingPoint], objective: Objective, axis: CostAxis) -> None:
    import plotly.graph_objects as go

    figure.add_trace(
        go.Scatter(
            x=[_cost(point, objective, axis) for point in front],
            y=[_loss(point) for point in front],
            mode="lines",
            name="Pareto front",
            line={"shape": "hv", "color": "#8a8f98", "width": 2},
            hoverinfo="skip",
        )
    )


def _markers(
    own: Sequence[OperatingPoint], system: str, objective: Objective, axis: CostAxis, index: int, shown: set[int]
) -> dict[str, Any]:
    """A system's points; the intervals of those on the front and of its best one are drawn, all can be read."""
    colour, symbol = style_of(index)
    losses = [point.loss for point in own if point.loss is not None]
    drawn = [objective.name in point.fronts or id(point) in shown for point in own]
    names = [f"{point.row.method} on {point.row.accelerator}" for point in own]
    return {
        "x": [_cost(point, objective, axis) for point in own],
        "y": [_loss(point) for point in own],
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [_bar(loss.interval.high - loss.value, seen) for loss, seen in zip(losses, drawn, strict=True)],
            "arrayminus": [
                _bar(loss.value - loss.interval.low, seen) for loss, seen in zip(losses, drawn, strict=True)
            ],
            "thickness": 1,
            "width": 2,
            "color": _faded(colour),
        },
        "mode": "markers",
        "name": in_short(system),
        "text": [
            f"{escaped(name)}<br>loss {100 * loss.value:.3g} [{100 * loss.interval.low:.3g}, "
            f"{100 * loss.interval.high:.3g}] %"
            for name, loss in zip(names, losses, strict=True)
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
    """Names at the cheapest point within the budget and the static yardstick.

    Each lies towards the middle of the picture, that of the higher point above it and the other below.
    """
    standings = frontier.standings_of(network, objective.name)
    winner, yardstick = standings[0].best if standings else None, frontier.baseline(network, objective.name)
    named = {id(point): (point, word) for point, word in ((yardstick, "best static"), (winner, "cheapest")) if point}
    seen = [
        (point, word)
        for point, word in sorted(named.values(), key=lambda each: -_loss(each[0]))
        if _loss(point) <= HEADROOM * 100 * frontier.budget and _cost(point, objective, axis)
    ]
    for (point, word), down in zip(seen, (-1, 1), strict=False):
        right = axis.right(point.value(objective) or 0.0)
        figure.add_annotation(
            x=math.log10(_cost(point, objective, axis)),
            y=_loss(point),
            text=f"{word}: {in_short(point.row.method)}<br>on {in_short(point.row.accelerator)}",
            ax=-24 if right else 24,
            ay=34 * down,
            xanchor="right" if right else "left",
            align="right" if right else "left",
        )


def _range(points: Sequence[OperatingPoint], budget: float) -> tuple[float, float, int]:
    """Lowest and highest loss of the picture, in percent, and how many points are above."""
    losses = [_loss(point) for point in points]
    top = HEADROOM * budget
    inside = [loss for loss in losses if loss <= top]
    lowest = min([0.0, *inside])
    highest = max([budget * 1.3, *inside])
    pad = PAD * (highest - lowest)
    return lowest - pad, highest + pad, len(losses) - len(inside)


def _bar(share: float, seen: bool) -> float:
    """Length of half an interval, in percent; unbounded ones and those left out have none."""
    return 100 * share if seen and share < 1e4 else 0.0


def _faded(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.4)"


def escaped(text: str) -> str:
    """A name as it can stand in plotly's text, which takes some HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def in_short(text: str) -> str:
    """A name as a picture has room for it, escaped.

    Examples
    --------
    >>> in_short("int8"), in_short("mixed narrow_bits=4 budget=0.01 on panacea"), in_short("<b>")
    ('int8', 'mixed narrow_b…01 on panacea', '&lt;b&gt;')
    """
    half = (LETTERS - 1) // 2
    return escaped(text if len(text) <= LETTERS else f"{text[: LETTERS - 1 - half]}…{text[-half:]}")
