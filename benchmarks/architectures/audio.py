"""Networks for speech and audio: transformers' classes, from small configurations, and vocoders written out."""

import functools

import torch
from benchmarks.architectures.configured import ENCODER_DECODER, NARROW, Tensors, configured, waveform

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
]


ARCHITECTURES = [*WAVES, *OTHERS]
