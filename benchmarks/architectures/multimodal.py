"""Networks of images, sound and text together: transformers' classes, from small configurations."""

import functools
from collections.abc import Callable

import torch
from benchmarks.architectures.configured import IMAGE, NARROW, SMALL, Tensors, configured, image, tokens
from benchmarks.architectures.vision import DETECTOR, VIT, WINDOWS

TOWERS = {
    "text_config": {**SMALL, "projection_dim": 16, "eos_token_id": 2},
    "vision_config": {**VIT, "projection_dim": 16},
    "projection_dim": 16,
}
IMAGE_TOKEN = 98


def pairs(length: int = 12) -> Tensors:
    """Two texts and two images."""
    return {**tokens(length), **image()}


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

PAIRED = [
    configured(name, "multimodal", model, {**TOWERS, **settings}, pairs)
    for name, model, settings in [
        ("CLIP", "CLIPModel", {}),
        ("SigLIP", "SiglipModel", {}),
        ("MetaCLIP 2", "MetaClip2Model", {}),
        ("AltCLIP", "AltCLIPModel", {"text_config": {**SMALL, "project_dim": 16}}),
        ("ChineseCLIP", "ChineseCLIPModel", {}),
        ("BLIP", "BlipModel", {}),
        ("CLIPSeg", "CLIPSegModel", {}),
        (
            "GroupViT",
            "GroupViTModel",
            {
                "vision_config": {
                    **VIT,
                    "depths": [1, 1, 1],
                    "num_group_tokens": [4, 4, 0],
                    "num_output_groups": [4, 4, 8],
                }
            },
        ),
        ("AIMv2", "Aimv2Model", {}),
        ("OWL-ViT", "OwlViTModel", {}),
        ("OWLv2", "Owlv2Model", {}),
    ]
] + [
    configured(
        "FLAVA",
        "multimodal",
        "FlavaModel",
        {
            "text_config": SMALL,
            "image_config": VIT,
            "multimodal_config": NARROW,
            "hidden_size": 32,
            "projection_dim": 16,
        },
        lambda: {**pairs(), "token_type_ids": torch.zeros(2, 12, dtype=torch.long)},
    ),
    configured(
        "ViLT",
        "multimodal",
        "ViltForQuestionAnswering",
        {**SMALL, **IMAGE, "num_images": -1},
        lambda: {**pairs(), "pixel_mask": torch.ones(2, 32, 32, dtype=torch.long)},
    ),
    configured(
        "VisualBERT",
        "multimodal",
        "VisualBertModel",
        {**SMALL, "visual_embedding_dim": 16},
        lambda: {**tokens(), "visual_embeds": torch.randn(2, 5, 16)},
    ),
    configured(
        "LXMERT",
        "multimodal",
        "LxmertModel",
        {**SMALL, "l_layers": 1, "x_layers": 1, "r_layers": 1, "visual_feat_dim": 16},
        lambda: {**tokens(), "visual_feats": torch.randn(2, 5, 16), "visual_pos": torch.rand(2, 5, 4)},
    ),
    configured(
        "LayoutLMv3",
        "multimodal",
        "LayoutLMv3Model",
        {
            **SMALL,
            "coordinate_size": 5,
            "shape_size": 6,
            "input_size": 32,
            "patch_size": 8,
            "max_2d_position_embeddings": 64,
            "rel_pos_bins": 8,
            "rel_2d_pos_bins": 8,
        },
        lambda: {**pairs(), "bbox": torch.randint(0, 60, (2, 12, 4)).sort(-1).values},
    ),
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
        "BridgeTower",
        "multimodal",
        "BridgeTowerModel",
        {
            "text_config": {**SMALL, "hidden_size": 64},
            "vision_config": {**VIT, "hidden_size": 64},
            **NARROW,
            "hidden_size": 64,
            "num_hidden_layers": 1,
        },
        lambda: {**pairs(), "attention_mask": torch.ones(2, 12, dtype=torch.long)},
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
        "CLAP",
        "multimodal",
        "ClapModel",
        {
            "text_config": SMALL,
            "projection_dim": 16,
            "audio_config": {
                "window_size": 4,
                "num_mel_bins": 16,
                "spec_size": 64,
                "patch_size": 4,
                "depths": [1, 1],
                "hidden_size": 32,
                "num_attention_heads": [2, 4],
                "patch_embeds_hidden_size": 16,
                "num_hidden_layers": 2,
            },
        },
        lambda: {**tokens(), "input_features": torch.randn(2, 1, 64, 16)},
    ),
    configured(
        "X-CLIP",
        "multimodal",
        "XCLIPModel",
        {
            "text_config": SMALL,
            "projection_dim": 32,
            "prompt_layers": 1,
            "prompt_num_attention_heads": 4,
            "vision_config": {
                **VIT,
                "mit_hidden_size": 32,
                "mit_intermediate_size": 64,
                "mit_num_hidden_layers": 1,
                "mit_num_attention_heads": 4,
                "num_frames": 2,
            },
        },
        lambda: {**tokens(), "pixel_values": torch.randn(2, 2, 3, 32, 32)},
    ),
    configured(
        "SAM",
        "multimodal",
        "SamModel",
        {
            "vision_config": {
                **VIT,
                "output_channels": 16,
                "window_size": 2,
                "global_attn_indexes": [1],
                "mlp_dim": 64,
                "num_pos_feats": 8,
            },
            "prompt_encoder_config": {"hidden_size": 16, "image_size": 32, "patch_size": 8, "mask_input_channels": 4},
            "mask_decoder_config": {
                "hidden_size": 16,
                "mlp_dim": 32,
                "num_attention_heads": 2,
                "iou_head_hidden_dim": 16,
                "attention_downsample_rate": 1,
            },
        },
        lambda: {**image(), "input_points": torch.rand(2, 1, 3, 2) * 32},
    ),
    configured(
        "Grounding DINO",
        "multimodal",
        "GroundingDinoModel",
        {
            **DETECTOR,
            "text_config": {**SMALL, "model_type": "bert"},
            "num_feature_levels": 3,
            "num_queries": 5,
            "backbone_config": {
                **WINDOWS,
                "model_type": "swin",
                "image_size": 64,
                "patch_size": 4,
                "depths": [1, 1, 1],
                "num_heads": [2, 2, 2],
                "out_features": ["stage1", "stage2", "stage3"],
            },
        },
        lambda: {**tokens(8), **image(64)},
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

ARCHITECTURES = PAIRED
