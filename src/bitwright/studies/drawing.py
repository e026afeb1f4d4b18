"""Pictures of costs, as plotly figures: bars of sites, machines and parts, scores against costs, and a roofline.

Energies and times are in SI units; names are shown, and not obeyed as markup.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from bitwright.accelerators.cost import Cost
from bitwright.errors import unknown_name
from bitwright.shown import plotted
from bitwright.studies.frontier.axes import CostAxis, cost_axis
from bitwright.studies.frontier.drawing import in_short
from bitwright.studies.palette import style_of
from bitwright.units import number, scaled

if TYPE_CHECKING:
    from bitwright.studies.bounds import Bounds
    from bitwright.studies.explain import Explanation
    from bitwright.studies.objectives import Objective
    from bitwright.studies.reproduce.claims import Claim
    from bitwright.studies.row import Row
    from bitwright.studies.simulation import Simulation

PICO = 1e-12
ENERGY, CYCLES = "energy", "cycles"
TITLES = {ENERGY: "energy [J]", CYCLES: "cycles"}
LEGEND = {"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0}


def draw_sites(simulation: "Simulation", by: str) -> go.Figure:
    """Sites of one machine as bars, what is on the vector unit last."""
    costs = {entry.site.name: entry.cost for entry in simulation.sites}
    if simulation.vector.cycles or simulation.vector.total_energy_pj:
        costs["(vector unit)"] = simulation.vector
    return _bars(costs, by, f"{simulation.network}, {simulation.method} on {simulation.accelerator}")


def draw_machines(simulations: "Mapping[str, Simulation]", by: str) -> go.Figure:
    """Machines as bars, those that run nothing left out."""
    running = {name: each.cost for name, each in simulations.items() if each.refusal is None}
    first = next(iter(simulations.values()), None)
    return _bars(running, by, "" if first is None else f"{first.network}, {first.method}")


def _bars(costs: Mapping[str, Cost], by: str, title: str) -> go.Figure:
    """Stacked bars of each cost's parts."""
    if by not in TITLES:
        raise unknown_name("kind of plot", by, TITLES)
    split = {name: _energies(cost) if by == ENERGY else _cycles(cost) for name, cost in costs.items()}
    parts = dict.fromkeys(part for each in split.values() for part in each)
    figure = go.Figure(
        [
            go.Bar(
                name=plotted(part.replace("_", " ")),
                x=[plotted(name) for name in split],
                y=[each.get(part, 0.0) for each in split.values()],
                marker_color=style_of(i)[0],
                hovertemplate="%{x}<br>%{y:.4~s}<extra>%{fullData.name}</extra>",
            )
            for i, part in enumerate(parts)
        ]
    )
    figure.update_layout(
        barmode="stack", title=plotted(title), legend=LEGEND, yaxis={"title": TITLES[by], "tickformat": "~s"}
    )
    return figure


def _energies(cost: Cost) -> dict[str, float]:
    return {part: energy * PICO for part, energy in cost.energy_pj.items()}


def _cycles(cost: Cost) -> dict[str, float]:
    return {"computing": cost.compute_cycles, "waiting for memory": cost.cycles - cost.compute_cycles}


def draw_explanation(explanation: "Explanation") -> go.Figure:
    """Where one site's cycles go, and its energy, as shares of each."""
    cost = explanation.entry.cost
    found = {"cycles": (dict(explanation.cycles), ""), "energy": (_energies(cost), "J")}
    figure = go.Figure()
    parts = [(bar, part, value, unit) for bar, (each, unit) in found.items() for part, value in each.items()]
    for i, (bar, part, value, unit) in enumerate(parts):
        whole = sum(found[bar][0].values()) or 1.0
        figure.add_bar(
            name=plotted(part.replace("_", " ")),
            y=[bar],
            x=[100 * value / whole],
            orientation="h",
            marker_color=style_of(i)[0],
            text=plotted(part.replace("_", " ")),
            hovertemplate=f"{plotted(part)}: {scaled(value, unit)}, %{{x:.3g}} %<extra></extra>",
        )
    title = f"{explanation.entry.site.name} of {explanation.network}, {explanation.method} on {explanation.accelerator}"
    figure.update_layout(barmode="stack", title=plotted(title), legend=LEGEND, xaxis={"title": "share [%]"})
    return figure


def draw_roofline(found: "Bounds") -> go.Figure:
    """Sites by multiply-accumulates per DRAM byte and per cycle, under the machine's roof."""
    figure = go.Figure()
    ends = [point.intensity for point in found.points] + [found.ridge]
    low, high = min(ends) / 2, max(ends) * 2
    figure.add_scatter(
        x=[low, found.ridge, high],
        y=[low * found.dram_bytes_per_cycle, found.peak, found.peak],
        mode="lines",
        name="roof",
        line={"color": style_of(0)[0], "dash": "dot"},
    )
    for i, bound in enumerate(dict.fromkeys(point.bound for point in found.points)):
        own = [point for point in found.points if point.bound == bound]
        colour, symbol = style_of(i + 1)
        figure.add_scatter(
            x=[point.intensity for point in own],
            y=[point.rate for point in own],
            mode="markers",
            name=f"bound by {plotted(bound)}",
            text=[f"{plotted(point.site.name)}<br>{point.cycles:,} cycles" for point in own],
            hovertemplate="%{text}<extra></extra>",
            marker={"color": colour, "symbol": symbol, "size": 9},
        )
    whole = found.simulation
    figure.update_layout(
        title=plotted(f"{whole.network}, {whole.method} on {whole.accelerator}"),
        xaxis={"title": "multiply-accumulates per byte of DRAM", "type": "log"},
        yaxis={"title": "multiply-accumulates per cycle", "type": "log"},
    )
    return figure


def draw_claims(systems: "Mapping[str, Sequence[Claim]]") -> go.Figure:
    """Claims whose figures are ratios, published against measured; on the line both agree."""
    figure = go.Figure()
    ends: list[float] = [1.0]
    for i, (system, claims) in enumerate(systems.items()):
        known = [(each, each.published, each.measured) for each in claims if each.unit == "x"]
        points = [(each, said, found) for each, said, found in known if said and found]
        ends += [value for _, said, found in points for value in (said, found)]
        colour, symbol = style_of(i)
        figure.add_scatter(
            x=[said for _, said, _ in points],
            y=[found for _, _, found in points],
            mode="markers",
            name=plotted(system),
            text=[plotted(each.claim) for each, _, _ in points],
            hovertemplate="%{text}<br>published %{x:.3g}x, measured %{y:.3g}x<extra></extra>",
            marker={"color": colour, "symbol": symbol, "size": 10},
        )
    line = [min(ends), max(ends)]
    figure.add_scatter(x=line, y=line, mode="lines", name="equal", line={"dash": "dot", "color": style_of(0)[0]})
    figure.update_layout(
        xaxis={"title": "published [x]", "type": "log"}, yaxis={"title": "measured [x]", "type": "log"}
    )
    return figure


def draw_scores(rows: "Sequence[Row]", objective: "Objective") -> go.Figure:
    """Score against a cost, a colour per method; without scores, the cost of each row as a bar."""
    known = [row for row in rows if row.evaluation is not None and row.simulation is not None]
    shown = [row for row in known if row.status == "ok"]
    return _tradeoff(shown, len(known) - len(shown), objective) if shown else _costs(rows, objective)


def _axis(objective: "Objective") -> str:
    return f"{objective.title} [{objective.unit.replace('mm2', 'mm²')}]"


def _tradeoff(rows: "Sequence[Row]", left_out: int, objective: "Objective") -> go.Figure:
    assert rows[0].evaluation is not None
    score = rows[0].evaluation.score
    better = "upper" if score.higher_is_better else "lower"
    without = f"; {left_out} left out, which are not ranked" if left_out else ""
    axis = cost_axis(objective, [objective.of(row.simulation) for row in rows if row.simulation])
    figure = go.Figure()
    for i, method in enumerate(dict.fromkeys(row.method for row in rows)):
        _add_method(figure, method, [row for row in rows if row.method == method], objective, axis, i)
    figure.update_layout(
        height=420,
        margin={"l": 60, "r": 20, "t": 30, "b": 50},
        legend={"orientation": "h", "yanchor": "top", "y": -0.2, "x": 0},
        hovermode="closest",
        xaxis=axis.layout(),
        yaxis={"title": {"text": plotted(f"{score.metric} [{score.unit}]" if score.unit else score.metric)}},
        annotations=[
            {
                "text": f"{better} left is better{without}",
                "xref": "paper",
                "yref": "paper",
                "x": 0,
                "y": 1.07,
                "showarrow": False,
                "xanchor": "left",
            }
        ],
    )
    return figure


def _add_method(
    figure: go.Figure, method: str, rows: "Sequence[Row]", objective: "Objective", axis: CostAxis, index: int
) -> None:
    colour, symbol = style_of(index + 1)
    points = [(row, row.evaluation.score, row.simulation) for row in rows if row.evaluation and row.simulation]
    figure.add_scatter(
        mode="markers",
        name=in_short(method),
        x=[axis.of(objective.of(simulation)) for _, _, simulation in points],
        y=[score.value for _, score, _ in points],
        text=[
            f"{plotted(row.method)} on {plotted(row.accelerator)}<br>"
            f"{plotted(f'{number(score.value)} {score.unit}'.strip())}, {_amount(objective.of(simulation), objective)}"
            for row, score, simulation in points
        ],
        hovertemplate="%{text}<extra></extra>",
        marker={"color": colour, "symbol": symbol, "size": 11, "line": {"width": 1, "color": "#ffffff"}},
    )


def _amount(value: float, objective: "Objective") -> str:
    return scaled(value, objective.unit, objective.power).replace("mm2", "mm²")


def _costs(rows: "Sequence[Row]", objective: "Objective") -> go.Figure:
    figure = go.Figure()
    for i, method in enumerate(dict.fromkeys(row.method for row in rows)):
        points = [(row, row.simulation) for row in rows if row.method == method and row.simulation is not None]
        figure.add_bar(
            name=plotted(method),
            x=[plotted(row.accelerator) for row, _ in points],
            y=[objective.of(simulation) * 10.0**objective.power for _, simulation in points],
            text=[_amount(objective.of(simulation), objective) for _, simulation in points],
            marker_color=style_of(i + 1)[0],
        )
    figure.update_layout(barmode="group", legend=LEGEND, yaxis={"title": _axis(objective), "tickformat": "~s"})
    return figure
