"""Networks for speech and audio: transformers' classes, from small configurations, and vocoders written out."""

import functools

import torch
import torch.nn.functional as F
from benchmarks.architectures import Architecture
from benchmarks.architectures.configured import ENCODER_DECODER, NARROW, Settings, Tensors, configured, waveform
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

WAVE = {
    **NARROW,
    "vocab_size": 32,
    "conv_dim": [16, 16, 16],
    "conv_kernel": [10, 3, 3],
    "conv_stride": [5, 4, 2],
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
    "mask_time_length": 2,
    "num_codevectors_per_group": 8,
    "codevector_dim": 16,
    "proj_codevector_dim": 16,
    "classifier_proj_size": 16,
    "tdnn_dim": [16, 16, 24],
    "tdnn_kernel": [3, 3, 1],
    "tdnn_dilation": [1, 2, 1],
    "xvector_output_dim": 16,
}

WAVES = [
    configured(name, "audio", model, {**WAVE, **settings}, waveform)
    for name, model, settings in [
        ("Wav2Vec2", "Wav2Vec2ForCTC", {}),
        ("Wav2Vec2, layer norm", "Wav2Vec2Model", {"feat_extract_norm": "layer", "do_stable_layer_norm": True}),
        ("Wav2Vec2, adapter", "Wav2Vec2Model", {"add_adapter": True, "num_adapter_layers": 1}),
        ("Wav2Vec2, x-vectors", "Wav2Vec2ForXVector", {}),
        ("Wav2Vec2 Conformer", "Wav2Vec2ConformerModel", {"conv_depthwise_kernel_size": 7}),
        (
            "Wav2Vec2 Conformer, rotary",
            "Wav2Vec2ConformerModel",
            {"conv_depthwise_kernel_size": 7, "position_embeddings_type": "rotary"},
        ),
        ("HuBERT", "HubertModel", {}),
        ("WavLM", "WavLMModel", {"num_buckets": 16, "max_bucket_distance": 32}),
        ("UniSpeech", "UniSpeechModel", {}),
        ("UniSpeech-SAT", "UniSpeechSatModel", {}),
        ("Data2Vec, audio", "Data2VecAudioModel", {"conv_pos_kernel_size": 5, "num_conv_pos_embeddings": 2}),
        ("SEW", "SEWModel", {}),
        ("SEW-D", "SEWDModel", {"position_buckets": 8, "max_position_embeddings": 64}),
    ]
]


def spectrogram(bins: int = 16, frames: int = 32) -> Tensors:
    """Two spectrograms [bins, frames]."""
    return {"input_features": torch.randn(2, bins, frames)}


def dictation(bins: int = 16, frames: int = 32, *, bins_first: bool = True) -> Tensors:
    """Two spectrograms for an encoder, tokens for a decoder."""
    features = spectrogram(bins, frames)["input_features"]
    return {
        "input_features": features if bins_first else features.mT.contiguous(),
        "decoder_input_ids": torch.randint(3, 99, (2, 6)),
    }


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


OTHERS = [
    configured(
        "Whisper",
        "audio",
        "WhisperForConditionalGeneration",
        {**ENCODER_DECODER, "num_mel_bins": 16, "max_source_positions": 16, "max_target_positions": 16},
        dictation,
    ),
    configured(
        "Speech2Text",
        "audio",
        "Speech2TextForConditionalGeneration",
        {
            **ENCODER_DECODER,
            "input_feat_per_channel": 16,
            "conv_channels": 16,
            "max_source_positions": 32,
            "max_target_positions": 16,
        },
        functools.partial(dictation, bins_first=False),
    ),
    configured(
        "AST",
        "audio",
        "ASTForAudioClassification",
        {**NARROW, "patch_size": 8, "frequency_stride": 6, "time_stride": 6, "max_length": 32, "num_mel_bins": 16},
        lambda: {"input_values": torch.randn(2, 32, 16)},
    ),
    configured(
        "Wav2Vec2-BERT",
        "audio",
        "Wav2Vec2BertModel",
        {**NARROW, "feature_projection_input_dim": 16, "conv_depthwise_kernel_size": 7},
        lambda: {"input_features": torch.randn(2, 32, 16)},
    ),
    configured(
        "Moonshine",
        "audio",
        "MoonshineForConditionalGeneration",
        {
            "vocab_size": 99,
            "hidden_size": 32,
            "intermediate_size": 64,
            "encoder_num_hidden_layers": 2,
            "decoder_num_hidden_layers": 2,
            "encoder_num_attention_heads": 4,
            "decoder_num_attention_heads": 4,
            "encoder_num_key_value_heads": 4,
            "decoder_num_key_value_heads": 4,
        },
        lambda: {**waveform(4000), "decoder_input_ids": torch.randint(3, 99, (2, 6))},
    ),
    configured(
        "Parakeet",
        "audio",
        "ParakeetEncoder",
        {**NARROW, "num_mel_bins": 16, "subsampling_conv_channels": 8, "conv_kernel_size": 5},
        lambda: {"input_features": torch.randn(2, 64, 16)},
    ),
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
        "SpeechT5",
        "audio",
        "SpeechT5ForSpeechToText",
        {
            **WAVE,
            **ENCODER_DECODER,
            "hidden_size": 32,
            "max_text_positions": 32,
            "max_speech_positions": 64,
            "encoder_max_relative_position": 8,
        },
        lambda: {**waveform(), "decoder_input_ids": torch.randint(3, 99, (2, 6))},
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
        "CLAP's audio",
        "audio",
        "ClapAudioModel",
        {
            "window_size": 4,
            "num_mel_bins": 16,
            "spec_size": 64,
            "patch_size": 4,
            "depths": [1, 1],
            "hidden_size": 32,
            "num_attention_heads": [2, 4],
            "patch_embeds_hidden_size": 16,
            "num_hidden_layers": 2,
            "projection_dim": 16,
        },
        lambda: {"input_features": torch.randn(2, 1, 64, 16)},
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

ARCHITECTURES = [*WAVES, *OTHERS, *WRITTEN]
