"""Detectors, segmenters and estimators of depth and pose: transformers' classes, from small configurations."""

import functools

from benchmarks.architectures.configured import configured, image
from benchmarks.architectures.vision import RESIDUAL, VIT, WINDOWS

BACKBONE = {**RESIDUAL, "model_type": "resnet", "out_features": ["stage4"]}
PYRAMID = {**RESIDUAL, "model_type": "resnet", "out_features": ["stage1", "stage2", "stage3", "stage4"]}
DETECTOR = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "num_queries": 5,
    "backbone_config": BACKBONE,
    "use_timm_backbone": False,
}
FEATURES = {**VIT, "model_type": "dinov2", "out_features": ["stage1", "stage2"], "reshape_hidden_states": False}
MEDIUM = functools.partial(image, 64)

ARCHITECTURES = [
    configured(name, "vision", model, settings, MEDIUM)
    for name, model, settings in [
        (
            "MobileViT",
            "MobileViTModel",
            {"image_size": 64, "hidden_sizes": [16, 24, 32], "neck_hidden_sizes": [8, 8, 16, 16, 24, 24, 64]},
        ),
        (
            "MobileViT V2",
            "MobileViTV2Model",
            {
                "image_size": 64,
                "base_attn_unit_dims": [16, 24, 32],
                "width_multiplier": 0.25,
                "n_attn_blocks": [1, 1, 1],
            },
        ),
        (
            "EfficientNet",
            "EfficientNetModel",
            {"image_size": 64, "width_coefficient": 0.25, "depth_coefficient": 0.3, "hidden_dim": 320},
        ),
        (
            "LeViT",
            "LevitModel",
            {
                "image_size": 64,
                "hidden_sizes": [16, 24, 32],
                "num_attention_heads": [2, 3, 4],
                "depths": [1, 1, 1],
                "key_dim": [8, 8, 8],
            },
        ),
        (
            "Hiera",
            "HieraModel",
            {
                "image_size": [64, 64],
                "embed_dim": 16,
                "depths": [1, 1, 2, 1],
                "num_heads": [1, 2, 2, 4],
                "patch_stride": [4, 4],
            },
        ),
        ("DETR", "DetrForObjectDetection", DETECTOR),
        ("Conditional DETR", "ConditionalDetrModel", DETECTOR),
        ("DAB-DETR", "DabDetrModel", {**DETECTOR, "hidden_size": 32}),
        (
            "Deformable DETR",
            "DeformableDetrModel",
            {
                **DETECTOR,
                "backbone_config": {**PYRAMID, "out_features": ["stage2", "stage3", "stage4"]},
                "num_feature_levels": 3,
            },
        ),
        ("Table transformer", "TableTransformerModel", DETECTOR),
        (
            "RT-DETR",
            "RTDetrModel",
            {
                **DETECTOR,
                "backbone_config": {
                    "model_type": "rt_detr_resnet",
                    **RESIDUAL,
                    "out_features": ["stage2", "stage3", "stage4"],
                },
                "encoder_hidden_dim": 32,
                "encoder_in_channels": [32, 32, 64],
                "decoder_in_channels": [32, 32, 32],
                "encoder_ffn_dim": 64,
            },
        ),
        (
            "UperNet",
            "UperNetForSemanticSegmentation",
            {
                "backbone_config": PYRAMID,
                "hidden_size": 16,
                "use_auxiliary_head": True,
                "auxiliary_channels": 16,
                "auxiliary_in_channels": 32,
                "pool_scales": [1, 2],
            },
        ),
        (
            "DPT",
            "DPTForDepthEstimation",
            {
                **VIT,
                "image_size": 64,
                "num_hidden_layers": 4,
                "backbone_out_indices": [0, 1, 2, 3],
                "neck_hidden_sizes": [8, 8, 16, 16],
                "fusion_hidden_size": 16,
            },
        ),
        (
            "Depth Anything",
            "DepthAnythingForDepthEstimation",
            {
                "backbone_config": {
                    **FEATURES,
                    "num_hidden_layers": 4,
                    "patch_size": 8,
                    "image_size": 64,
                    "out_features": ["stage1", "stage2", "stage3", "stage4"],
                },
                "patch_size": 8,
                "reassemble_hidden_size": 32,
                "neck_hidden_sizes": [8, 8, 16, 16],
                "fusion_hidden_size": 16,
            },
        ),
        (
            "MaskFormer",
            "MaskFormerForInstanceSegmentation",
            {
                "fpn_feature_size": 32,
                "mask_feature_size": 32,
                "backbone_config": {
                    **WINDOWS,
                    "model_type": "swin",
                    "image_size": 64,
                    "depths": [1, 1, 1, 1],
                    "num_heads": [2, 2, 2, 2],
                    "out_features": ["stage1", "stage2", "stage3", "stage4"],
                },
                "decoder_config": {**DETECTOR, "model_type": "detr"},
            },
        ),
        (
            "Mask2Former",
            "Mask2FormerForUniversalSegmentation",
            {
                "feature_size": 32,
                "mask_feature_size": 32,
                "hidden_dim": 32,
                "encoder_feedforward_dim": 32,
                "encoder_layers": 1,
                "decoder_layers": 2,
                "num_attention_heads": 2,
                "dim_feedforward": 32,
                "num_queries": 5,
                "backbone_config": PYRAMID,
            },
        ),
        (
            "SuperPoint",
            "SuperPointForKeypointDetection",
            {"encoder_hidden_sizes": [8, 8, 16, 16], "decoder_hidden_size": 16, "descriptor_decoder_dim": 16},
        ),
        (
            "ViTPose",
            "VitPoseForPoseEstimation",
            {
                "backbone_config": {
                    **VIT,
                    "model_type": "vitpose_backbone",
                    "image_size": [64, 64],
                    "patch_size": [8, 8],
                    "out_features": ["stage2"],
                },
                "num_labels": 5,
            },
        ),
    ]
] + [
    configured(
        "ViTMatte",
        "vision",
        "VitMatteForImageMatting",
        {
            "backbone_config": {
                **VIT,
                "model_type": "vitdet",
                "image_size": 64,
                "patch_size": 16,
                "num_channels": 4,
                "out_features": ["stage2"],
                "window_block_indices": [0],
            },
            "hidden_size": 32,
            "fusion_hidden_sizes": [16, 8, 8, 4],
            "convstream_hidden_sizes": [4, 8, 8],
        },
        functools.partial(image, 64, 4),
    ),
]
