"""Language models that see: transformers' classes, from small configurations."""

import functools
from collections.abc import Callable

import torch
from benchmarks.architectures.configured import SMALL, Tensors, configured, image, tokens
from benchmarks.architectures.multimodal import pairs
from benchmarks.architectures.vision import VIT

IMAGE_TOKEN = 98


def prompt(patches: int, length: int = 24, *, extra: Callable[[], Tensors] = image) -> Tensors:
    """Two texts, each with room for an image of so many patches, and the images."""
    ids = torch.randint(3, IMAGE_TOKEN, (2, length))
    ids[:, 1 : 1 + patches] = IMAGE_TOKEN
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), **extra()}


LLAVA = {
    "text_config": {**SMALL, "model_type": "llama"},
    "vision_config": {**VIT, "model_type": "clip_vision_model"},
    "image_token_index": IMAGE_TOKEN,
    "image_token_id": IMAGE_TOKEN,
    "vision_feature_layer": -1,
}


ARCHITECTURES = [
    configured(
        "BLIP captioner",
        "multimodal",
        "BlipForConditionalGeneration",
        {"text_config": {**SMALL, "encoder_hidden_size": 32}, "vision_config": VIT},
        pairs,
    ),
    configured("GIT", "multimodal", "GitForCausalLM", {**SMALL, "vision_config": VIT}, pairs),
    configured(
        "LLaVA",
        "multimodal",
        "LlavaForConditionalGeneration",
        {**LLAVA, "image_seq_length": 16, "vision_feature_select_strategy": "default"},
        functools.partial(prompt, 16),
    ),
    configured(
        "VipLLaVA",
        "multimodal",
        "VipLlavaForConditionalGeneration",
        {**LLAVA, "image_seq_length": 16, "vision_feature_layers": [-1, -2]},
        functools.partial(prompt, 16),
    ),
    configured(
        "PaliGemma",
        "multimodal",
        "PaliGemmaForConditionalGeneration",
        {
            "text_config": {**SMALL, "model_type": "gemma"},
            "vision_config": {**VIT, "model_type": "siglip_vision_model", "projection_dim": 32},
            "image_token_index": IMAGE_TOKEN,
            "image_token_id": IMAGE_TOKEN,
            "projection_dim": 32,
            "hidden_size": 32,
        },
        functools.partial(prompt, 16),
    ),
    configured(
        "Gemma 3, vision",
        "multimodal",
        "Gemma3ForConditionalGeneration",
        {
            "text_config": SMALL,
            "vision_config": {**VIT, "model_type": "siglip_vision_model"},
            "mm_tokens_per_image": 4,
            "image_token_index": IMAGE_TOKEN,
            "image_token_id": IMAGE_TOKEN,
        },
        lambda: {**prompt(4), "token_type_ids": torch.zeros(2, 24, dtype=torch.long)},
    ),
    configured(
        "InternVL",
        "multimodal",
        "InternVLForConditionalGeneration",
        {
            "text_config": {**SMALL, "model_type": "qwen2"},
            "vision_config": {**VIT, "image_size": [32, 32], "patch_size": [8, 8]},
            "image_token_id": IMAGE_TOKEN,
            "downsample_ratio": 0.5,
        },
        functools.partial(prompt, 4),
    ),
    configured(
        "Idefics3",
        "multimodal",
        "Idefics3ForConditionalGeneration",
        {
            "text_config": {**SMALL, "model_type": "llama"},
            "vision_config": VIT,
            "image_token_id": IMAGE_TOKEN,
            "scale_factor": 2,
        },
        lambda: prompt(4, extra=lambda: {"pixel_values": torch.randn(2, 1, 3, 32, 32)}),
    ),
    configured("Mllama's text", "multimodal", "MllamaForCausalLM", {**SMALL, "cross_attention_layers": []}, tokens),
    configured(
        "Qwen2-VL",
        "multimodal",
        "Qwen2VLForConditionalGeneration",
        {
            "text_config": {
                **SMALL,
                "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]},
            },
            "vision_config": {"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 4, "patch_size": 4},
            "image_token_id": IMAGE_TOKEN,
            "video_token_id": 97,
            "vision_start_token_id": 96,
            "vision_end_token_id": 95,
        },
        lambda: {
            **prompt(4, extra=dict),
            "mm_token_type_ids": (prompt(4, extra=dict)["input_ids"] == IMAGE_TOKEN).int(),
            "pixel_values": torch.randn(32, 96),
            "image_grid_thw": torch.tensor([[1, 4, 4], [1, 4, 4]]),
        },
    ),
    configured(
        "TrOCR's decoder",
        "multimodal",
        "TrOCRForCausalLM",
        {
            "vocab_size": 99,
            "d_model": 32,
            "decoder_layers": 2,
            "decoder_attention_heads": 4,
            "decoder_ffn_dim": 64,
            "max_position_embeddings": 64,
            "cross_attention_hidden_size": 32,
        },
        tokens,
    ),
    configured(
        "Vision encoder-decoder",
        "multimodal",
        "VisionEncoderDecoderModel",
        {
            "encoder": {**VIT, "model_type": "vit"},
            "decoder": {**SMALL, "model_type": "bert", "is_decoder": True, "add_cross_attention": True},
        },
        lambda: {**image(), "decoder_input_ids": torch.randint(3, 99, (2, 6))},
    ),
    configured(
        "Pix2Struct",
        "multimodal",
        "Pix2StructForConditionalGeneration",
        {
            "text_config": {
                "vocab_size": 99,
                "hidden_size": 32,
                "d_kv": 8,
                "d_ff": 64,
                "num_layers": 2,
                "num_heads": 4,
            },
            "vision_config": {
                "hidden_size": 32,
                "patch_embed_hidden_size": 48,
                "d_ff": 64,
                "d_kv": 8,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "seq_len": 9,
            },
        },
        lambda: {
            "flattened_patches": torch.cat(
                [
                    torch.arange(9).div(3, rounding_mode="floor").expand(2, 9)[..., None] + 1.0,
                    torch.arange(9).remainder(3).expand(2, 9)[..., None] + 1.0,
                    torch.randn(2, 9, 48),
                ],
                -1,
            ),
            "decoder_input_ids": torch.randint(3, 99, (2, 6)),
        },
    ),
    configured(
        "Kosmos-2",
        "multimodal",
        "Kosmos2Model",
        {
            "text_config": {
                "vocab_size": 99,
                "embed_dim": 32,
                "layers": 2,
                "ffn_dim": 64,
                "attention_heads": 4,
                "max_position_embeddings": 64,
            },
            "vision_config": VIT,
            "latent_query_num": 4,
        },
        lambda: {**pairs(), "image_embeds_position_mask": (torch.arange(12).expand(2, 12) < 4).long()},
    ),
    configured(
        "BLIP-2",
        "multimodal",
        "Blip2ForConditionalGeneration",
        {
            "text_config": {**SMALL, "model_type": "opt", "ffn_dim": 64, "word_embed_proj_dim": 32},
            "vision_config": VIT,
            "qformer_config": {**SMALL, "encoder_hidden_size": 32, "cross_attention_frequency": 1},
            "num_query_tokens": 4,
            "image_token_index": IMAGE_TOKEN,
            "image_token_id": IMAGE_TOKEN,
        },
        functools.partial(prompt, 4),
    ),
    configured(
        "Florence-2",
        "multimodal",
        "Florence2ForConditionalGeneration",
        {
            "text_config": {
                "model_type": "bart",
                "vocab_size": 99,
                "d_model": 32,
                "encoder_layers": 1,
                "decoder_layers": 1,
                "encoder_attention_heads": 4,
                "decoder_attention_heads": 4,
                "encoder_ffn_dim": 64,
                "decoder_ffn_dim": 64,
                "max_position_embeddings": 64,
            },
            "vision_config": {
                "embed_dim": [16, 32],
                "depths": [1, 1],
                "num_heads": [2, 4],
                "num_groups": [2, 4],
                "patch_size": [7, 3],
                "patch_stride": [4, 2],
                "patch_padding": [3, 1],
                "patch_prenorm": [False, True],
                "window_size": 4,
                "projection_dim": 32,
            },
            "image_token_id": IMAGE_TOKEN,
        },
        lambda: {**prompt(17), "decoder_input_ids": torch.randint(3, 98, (2, 6))},
    ),
]
