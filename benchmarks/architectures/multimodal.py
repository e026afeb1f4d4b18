"""Networks of images, sound and text together: transformers' classes, from small configurations."""

import torch
from benchmarks.architectures.configured import IMAGE, NARROW, SMALL, Tensors, configured, image, tokens
from benchmarks.architectures.detection import DETECTOR
from benchmarks.architectures.vision import VIT, WINDOWS

TOWERS = {
    "text_config": {**SMALL, "projection_dim": 16, "eos_token_id": 2},
    "vision_config": {**VIT, "projection_dim": 16},
    "projection_dim": 16,
}


def pairs(length: int = 12) -> Tensors:
    """Two texts and two images."""
    return {**tokens(length), **image()}


ARCHITECTURES = [
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
]
