"""Networks for time series: transformers' classes from small configurations, and one written out."""

from collections.abc import Callable

import torch
from benchmarks.architectures import Architecture
from benchmarks.architectures.configured import configured
from torch import nn

Tensor = torch.Tensor


class Forecaster(nn.Module):
    """N-BEATS (Oreshkin et al. 2019): blocks that each explain a part of a series."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 30))
            for _ in range(3)
        )

    def forward(self, series: Tensor) -> Tensor:
        """Series [B, 24] -> its next 6 values."""
        forecast = series.new_zeros(len(series), 6)
        for block in self.blocks:
            back, ahead = block(series).split([24, 6], -1)
            series, forecast = series - back, forecast + ahead
        return forecast


SERIES = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
}


PATCHES = {"num_input_channels": 3, "context_length": 32, "patch_length": 8, "patch_stride": 8, "prediction_length": 8}


def _past(*shape: int) -> Callable[[], dict[str, Tensor]]:
    return lambda: {"past_values": torch.randn(shape)}


def _forecast() -> dict[str, Tensor]:
    """A history of context plus the largest lag, and the future that decoders are given."""
    history, ahead = 16 + 7, 4
    return {
        "past_values": torch.randn(2, history),
        "past_time_features": torch.randn(2, history, 1),
        "past_observed_mask": torch.ones(2, history),
        "future_values": torch.randn(2, ahead),
        "future_time_features": torch.randn(2, ahead, 1),
    }


FORECAST = {"prediction_length": 4, "context_length": 16, "lags_sequence": [1, 2, 7], "num_time_features": 1}


CONFIGURED = [
    configured(
        "PatchTST",
        "time series",
        "PatchTSTForPrediction",
        {**PATCHES, "num_hidden_layers": 2, "d_model": 32, "num_attention_heads": 4, "ffn_dim": 64},
        _past(2, 32, 3),
    ),
    configured(
        "PatchTSMixer",
        "time series",
        "PatchTSMixerForPrediction",
        {**PATCHES, "d_model": 16, "num_layers": 2, "self_attn": True},
        _past(2, 32, 3),
    ),
    configured(
        "Time series transformer", "time series", "TimeSeriesTransformerModel", {**SERIES, **FORECAST}, _forecast
    ),
    configured(
        "Informer, full attention",
        "time series",
        "InformerModel",
        {**SERIES, **FORECAST, "attention_type": "full"},
        _forecast,
    ),
    configured("Autoformer", "time series", "AutoformerModel", {**SERIES, **FORECAST, "moving_average": 5}, _forecast),
    configured(
        "TimesFM",
        "time series",
        "TimesFmModel",
        {
            "patch_length": 8,
            "context_length": 32,
            "horizon_length": 8,
            "num_hidden_layers": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "head_dim": 8,
            "num_attention_heads": 4,
        },
        lambda: {
            "past_values": torch.randn(2, 32),
            "past_values_padding": torch.zeros(2, 32, dtype=torch.long),
            "freq": torch.zeros(2, 1, dtype=torch.long),
        },
    ),
]

ARCHITECTURES = [
    Architecture(name="N-BEATS", family="time series", make=lambda: (Forecaster(), torch.randn(4, 24))),
    *CONFIGURED,
]
