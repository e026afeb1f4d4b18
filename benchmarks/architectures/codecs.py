"""Codecs, vocoders and separators of sound: transformers' classes from small configurations, and some written out."""

import torch
import torch.nn.functional as F
from benchmarks.architectures import Architecture
from benchmarks.architectures.configured import Settings, Tensors, configured
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

CODEC = {
    "num_filters": 4,
    "hidden_size": 16,
    "codebook_size": 32,
    "codebook_dim": 16,
    "upsampling_ratios": [4, 2],
    "num_lstm_layers": 1,
}


class Decoded(nn.Module):
    """A codec's waveform; its first output would be codes."""

    def __init__(self, codec: nn.Module) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, input_values: torch.Tensor) -> torch.Tensor:
        """Waveforms -> waveforms."""
        return self.codec(input_values).audio_values


def _codec(name: str, model: str, settings: Settings) -> Architecture:
    codec = configured(name, "audio", model, settings, lambda: {"input_values": torch.randn(2, 1, 256)})

    def make() -> tuple[nn.Module, Tensors]:
        module, inputs = codec.make()
        return Decoded(module), inputs

    return Architecture(name=name, family="audio", make=make)


class WaveNet(nn.Module):
    """WaveNet (van den Oord et al. 2016): dilated causal convolutions with gates and skips."""

    def __init__(self, channels: int, layers: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, channels, 1)
        self.gated = nn.ModuleList(nn.Conv1d(channels, 2 * channels, 2, dilation=2**i) for i in range(layers))
        self.mixed = nn.ModuleList(nn.Conv1d(channels, 2 * channels, 1) for _ in range(layers))
        self.head = nn.Sequential(nn.ReLU(), nn.Conv1d(channels, channels, 1), nn.ReLU(), nn.Conv1d(channels, 16, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Waveforms [B, 1, T] -> logits [B, 16, T]."""
        x, skips = self.first(x), 0.0
        for gated, mixed in zip(self.gated, self.mixed, strict=True):
            filters, gates = gated(F.pad(x, (gated.dilation[0], 0))).chunk(2, 1)
            residual, skip = mixed(filters.tanh() * gates.sigmoid()).chunk(2, 1)
            x, skips = x + residual, skips + skip
        return self.head(skips)


def _causal(channels: int, dilation: int) -> nn.Module:
    """A block of a temporal convolutional network (Bai et al. 2018)."""
    return nn.Sequential(
        nn.ConstantPad1d((2 * dilation, 0), 0.0),
        weight_norm(nn.Conv1d(channels, channels, 3, dilation=dilation)),
        nn.ReLU(),
    )


class Separator(nn.Module):
    """Conv-TasNet (Luo and Mesgarani 2019): a learned transform, masks from depthwise convolutions, and its inverse."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode = nn.Conv1d(1, 16, 8, 4, bias=False), nn.ConvTranspose1d(16, 1, 8, 4, bias=False)
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv1d(16, 24, 1),
                    nn.PReLU(),
                    nn.GroupNorm(1, 24),
                    nn.Conv1d(24, 24, 3, padding=d, dilation=d, groups=24),
                    nn.PReLU(),
                    nn.Conv1d(24, 16, 1),
                )
                for d in (1, 2)
            )
        )
        self.masks = nn.Conv1d(16, 32, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Mixtures [B, 1, T] -> two sources [B, 2, T]."""
        features = F.relu(self.encode(x))
        masks = self.masks(self.blocks(features)).sigmoid().unflatten(1, (2, 16))
        return self.decode((masks * features[:, None]).flatten(0, 1)).view(len(x), 2, -1)


def _waves(module: nn.Module) -> tuple[nn.Module, torch.Tensor]:
    return module, torch.randn(2, 1, 128)


WRITTEN = [
    Architecture(name="WaveNet", family="audio", make=lambda: _waves(WaveNet(8, 4))),
    Architecture(
        name="Temporal convolutional network",
        family="audio",
        make=lambda: _waves(
            nn.Sequential(nn.Conv1d(1, 8, 1), *(_causal(8, 2**i) for i in range(3)), nn.Conv1d(8, 4, 1))
        ),
    ),
    Architecture(name="Conv-TasNet", family="audio", make=lambda: _waves(Separator())),
]


CONFIGURED = [
    _codec("EnCodec", "EncodecModel", CODEC),
    _codec(
        "DAC",
        "DacModel",
        {
            "encoder_hidden_size": 8,
            "downsampling_ratios": [2, 4],
            "decoder_hidden_size": 32,
            "n_codebooks": 2,
            "codebook_size": 32,
            "codebook_dim": 4,
            "upsampling_ratios": [4, 2],
            "hidden_size": 32,
        },
    ),
    _codec(
        "Mimi",
        "MimiModel",
        {
            **CODEC,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "intermediate_size": 32,
            "vector_quantization_hidden_dimension": 16,
            "num_quantizers": 3,
            "upsample_groups": 16,
            "sampling_rate": 80,
            "frame_rate": 5,
        },
    ),
    configured(
        "HiFi-GAN",
        "audio",
        "SpeechT5HifiGan",
        {
            "model_in_dim": 16,
            "upsample_initial_channel": 16,
            "upsample_rates": [4, 2],
            "upsample_kernel_sizes": [8, 4],
            "resblock_kernel_sizes": [3],
            "resblock_dilation_sizes": [[1, 3]],
        },
        lambda: {"spectrogram": torch.randn(2, 12, 16)},
    ),
    configured(
        "MusicGen's decoder",
        "audio",
        "MusicgenForCausalLM",
        {
            "vocab_size": 99,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "ffn_dim": 64,
            "num_codebooks": 2,
            "max_position_embeddings": 64,
            "pad_token_id": 99,
            "bos_token_id": 99,
        },
        lambda: {"input_ids": torch.randint(0, 99, (4, 8))},
    ),
    configured(
        "UnivNet",
        "audio",
        "UnivNetModel",
        {
            "model_in_channels": 8,
            "model_hidden_channels": 8,
            "num_mel_bins": 16,
            "resblock_kernel_sizes": [3],
            "resblock_stride_sizes": [4],
            "resblock_dilation_sizes": [[1, 3]],
            "kernel_predictor_hidden_channels": 8,
        },
        lambda: {"input_features": torch.randn(2, 8, 16), "noise_sequence": torch.randn(2, 8, 8)},
    ),
    configured(
        "VITS",
        "audio",
        "VitsModel",
        {
            "vocab_size": 38,
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "ffn_dim": 32,
            "flow_size": 32,
            "spectrogram_bins": 9,
            "upsample_initial_channel": 16,
            "upsample_rates": [4, 2],
            "upsample_kernel_sizes": [8, 4],
            "resblock_kernel_sizes": [3],
            "resblock_dilation_sizes": [[1, 3]],
            "prior_encoder_num_flows": 2,
            "prior_encoder_num_wavenet_layers": 2,
            "posterior_encoder_num_wavenet_layers": 1,
            "duration_predictor_num_flows": 2,
            "noise_scale": 0.0,
            "noise_scale_duration": 0.0,
        },
        lambda: {"input_ids": torch.randint(1, 38, (1, 12))},
    ),
]

ARCHITECTURES = [*CONFIGURED, *WRITTEN]
