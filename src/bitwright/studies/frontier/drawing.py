"""The picture of a study at equal accuracy: loss against one cost, the front, the budget, a colour per system.

Costs are drawn in SI units on a logarithmic axis. Losses are cut off well above the budget, so that what matters fills
the picture; a note says how many points lie beyond.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bitwright.studies.frontier.points import OperatingPoint
from bitwright.studies.objectives import Objective
from bitwright.studies.palette import style_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from bitwright.studies.frontier.result import Frontier

HEADROOM = 4.0  # budgets above the budget that are in the picture
CROWDED = 6.0  # largest by smallest cost from which on the axis names 1, 2 and 5 only


def draw(frontier: "Frontier", network: str, objective: Objective) -> "go.Figure":
    """Loss in percent against `objective`."""
    import plotly.graph_objects as go

    points = [point for point in frontier.points_of(network) if point.comparable]
    figure = go.Figure()
    _add_front(figure, frontier.front(network, objective.name), objective)
    for i, system in enumerate(frontier.systems):
        own = [point for point in points if point.system == system]
        if own:
            shown = {id(each.best) for each in frontier.standings_of(network, objective.name)}
            figure.add_trace(go.Scatter(**_markers(own, system, objective, i, shown)))
    budget = 100 * frontier.budget
    figure.add_hline(
        y=budget, line={"dash": "dash", "width": 1.5, "color": "#d9534f"}, annotation_text=f"budget {budget:g} %"
    )
    _add_names(figure, frontier, network, objective)
    lowest, highest, beyond = _range(points, budget)
    above = f"; {beyond} with more loss lie above" if beyond else ""
    unit = objective.unit.replace("mm2", "mm²")
    figure.update_layout(
        margin={"l": 60, "r": 20, "t": 30, "b": 50},
        height=480,
        legend={"orientation": "h", "yanchor": "top", "y": -0.18, "x": 0, "itemsizing": "constant"},
        hovermode="closest",
        xaxis={
            "title": f"{objective.title} of one inference [{unit}]",
            "type": "log",
            "tickformat": "~s",
            "dtick": _ticks(points, objective),
        },
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


def _cost(point: OperatingPoint, objective: Objective) -> float:
    return (point.value(objective) or 0.0) * 10.0**objective.power


def _loss(point: OperatingPoint) -> float:
    assert point.loss is not None
    return 100 * point.loss.value


def _add_front(figure: "go.Figure", front: Sequence[OperatingPoint], objective: Objective) -> None:
    import plotly.graph_objects as go

    figure.add_trace(
        go.Scatter(
            x=[_cost(point, objective) for point in front],
            y=[_loss(point) for point in front],
            mode="lines",
            name="Pareto front",
            line={"shape": "hv", "color": "#8a8f98", "width": 2},
            hoverinfo="skip",
        )
    )


def _markers(
    own: Sequence[OperatingPoint], system: str, objective: Objective, index: int, shown: set[int]
) -> dict[str, Any]:
    """A system's points; the intervals of those on the front and of its best one are drawn, all can be read."""
    colour, symbol = style_of(index)
    losses = [point.loss for point in own if point.loss is not None]
    drawn = [objective.name in point.fronts or id(point) in shown for point in own]
    names = [f"{point.row.method} on {point.row.accelerator}" for point in own]
    return {
        "x": [_cost(point, objective) for point in own],
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
        "name": escaped(system),
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
        "hovertemplate": f"%{{text}}<br>%{{x:.4~s}}{objective.unit}<extra>{escaped(system)}</extra>",
    }


def _add_names(figure: "go.Figure", frontier: "Frontier", network: str, objective: Objective) -> None:
    """Names beside the cheapest point within the budget and the INT8 yardstick."""
    import math

    standings = frontier.standings_of(network, objective.name)
    winner, yardstick = standings[0].best if standings else None, frontier.baseline(network, objective.name)
    named = {id(point): (point, word) for point, word in ((yardstick, "best static"), (winner, "cheapest")) if point}
    for i, (point, word) in enumerate(named.values()):
        if _loss(point) > HEADROOM * 100 * frontier.budget or not _cost(point, objective):
            continue
        figure.add_annotation(
            x=math.log10(_cost(point, objective)),
            y=_loss(point),
            text=f"{word}: {escaped(point.row.method)}<br>on {escaped(point.row.accelerator)}",
            ax=(50, 30)[i],
            ay=(-80, -28)[i],
            xanchor="left",
            align="left",
        )


def _range(points: Sequence[OperatingPoint], budget: float) -> tuple[float, float, int]:
    """Lowest and highest loss of the picture, in percent, and how many points are above."""
    losses = [_loss(point) for point in points]
    top = HEADROOM * budget
    inside = [loss for loss in losses if loss <= top]
    lowest = min([0.0, *inside])
    highest = max([budget * 1.3, *inside])
    pad = 0.15 * (highest - lowest)
    return lowest - pad, highest + pad, len(losses) - len(inside)


def _bar(share: float, seen: bool) -> float:
    """Length of half an interval, in percent; unbounded ones and those left out have none."""
    return 100 * share if seen and share < 1e4 else 0.0


def _ticks(points: Sequence[OperatingPoint], objective: Objective) -> str | None:
    costs = [cost for point in points if (cost := _cost(point, objective))]
    return "D2" if costs and max(costs) > CROWDED * min(costs) else None


def _faded(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.4)"


def escaped(text: str) -> str:
    """A name as it can stand in plotly's text, which takes some HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
