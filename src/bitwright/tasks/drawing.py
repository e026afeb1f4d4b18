"""The picture of an evaluation: scores as points with their 95 % intervals, the float network's beside."""

import math
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from bitwright.shown import plotted

if TYPE_CHECKING:
    from bitwright.tasks.evaluate import Evaluation


def draw(evaluation: "Evaluation") -> go.Figure:
    """The quantized network's score, and float's where the task scores it."""
    score, own = evaluation.score, evaluation.score.value_interval
    figure = go.Figure()
    bounded = math.isfinite(own.high - own.low)
    figure.add_scatter(
        x=[plotted(evaluation.plan.method)],
        y=[score.value],
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [own.high - score.value if bounded else 0.0],
            "arrayminus": [score.value - own.low if bounded else 0.0],
        },
        mode="markers",
        name="quantized",
        marker={"size": 11},
    )
    if score.float_value is not None:
        figure.add_scatter(x=["float"], y=[score.float_value], mode="markers", name="float", marker={"size": 11})
    better = "higher is better" if score.higher_is_better else "lower is better"
    title = f"{score.metric} [{score.unit}]" if score.unit else score.metric
    figure.update_layout(yaxis={"title": f"{plotted(title)}, {better}"}, title=plotted(score.sample_count), height=420)
    return figure
