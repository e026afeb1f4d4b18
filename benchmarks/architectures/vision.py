"""Networks for images and video: transformers' classes, from small configurations."""

import functools

import torch
from benchmarks.architectures.configured import IMAGE, NARROW, Tensors, configured, image

VIT = {**NARROW, **IMAGE}
FOUR = {
    "depths": [1, 1, 1, 1],
    "hidden_sizes": [16, 16, 32, 32],
    "num_attention_heads": [1, 2, 2, 4],
    "num_channels": 3,
    "image_size": 32,
}
WINDOWS = {"image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}
RESIDUAL = {"embedding_size": 16, "hidden_sizes": [16, 32, 32, 64], "depths": [1, 1, 1, 1]}
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

IMAGES = [
    configured(name, "vision", model, settings, image)
    for name, model, settings in [
        ("ViT", "ViTForImageClassification", VIT),
        ("ViT, eager attention", "ViTModel", {**VIT, "attn_implementation": "eager"}),
        ("DeiT", "DeiTModel", VIT),
        ("BEiT", "BeitModel", {**VIT, "use_relative_position_bias": True}),
        ("Data2Vec, vision", "Data2VecVisionModel", {**VIT, "use_shared_relative_position_bias": True}),
        ("DINOv2", "Dinov2Model", VIT),
        ("DINOv2, registers", "Dinov2WithRegistersModel", VIT),
        ("DINOv2, SwiGLU", "Dinov2Model", {**VIT, "use_swiglu_ffn": True}),
        ("DINOv3", "DINOv3ViTModel", VIT),
        ("ViT-MSN", "ViTMSNModel", VIT),
        (
            "ViTDet",
            "VitDetModel",
            {**VIT, "window_size": 2, "window_block_indices": [0], "use_relative_position_embeddings": True},
        ),
        ("I-JEPA", "IJepaModel", VIT),
        ("YOLOS", "YolosForObjectDetection", {**VIT, "image_size": [32, 32], "num_detection_tokens": 5}),
        ("SigLIP, vision", "SiglipVisionModel", VIT),
        ("CLIP, vision", "CLIPVisionModel", VIT),
        ("AIMv2, vision", "Aimv2VisionModel", VIT),
        ("Pixtral, vision", "PixtralVisionModel", {**VIT, "head_dim": 8}),
        (
            "SAM, vision",
            "SamVisionModel",
            {**VIT, "output_channels": 16, "window_size": 2, "global_attn_indexes": [1], "mlp_dim": 64},
        ),
        ("Swin", "SwinModel", WINDOWS),
        ("Swin V2", "Swinv2Model", WINDOWS),
        ("Donut's Swin", "DonutSwinModel", WINDOWS),
        (
            "Swin2SR",
            "Swin2SRForImageSuperResolution",
            {**WINDOWS, "patch_size": 1, "upscale": 2, "upsampler": "pixelshuffledirect"},
        ),
        ("ConvNeXt", "ConvNextForImageClassification", FOUR),
        ("ConvNeXt V2", "ConvNextV2Model", FOUR),
        ("DINOv3, ConvNeXt", "DINOv3ConvNextModel", FOUR),
        ("PVT", "PvtModel", {**FOUR, "sequence_reduction_ratios": [4, 2, 2, 1]}),
        ("PVT v2", "PvtV2Model", FOUR),
        ("PVT v2, linear attention", "PvtV2Model", {**FOUR, "linear_attention": True}),
        ("SegFormer", "SegformerForSemanticSegmentation", {**FOUR, "decoder_hidden_size": 32}),
        ("GLPN", "GLPNForDepthEstimation", {**FOUR, "decoder_hidden_size": 32}),
        ("PoolFormer", "PoolFormerModel", FOUR),
        (
            "FocalNet",
            "FocalNetModel",
            {
                "image_size": 32,
                "embed_dim": 16,
                "hidden_sizes": [32, 32],
                "depths": [1, 1],
                "focal_levels": [2, 2],
                "focal_windows": [3, 3],
                "num_channels": 3,
            },
        ),
        ("CvT", "CvtModel", {"embed_dim": [16, 32, 32], "num_heads": [1, 2, 4], "depth": [1, 2, 3]}),
        ("MobileNet V1", "MobileNetV1Model", {"depth_multiplier": 0.25}),
        ("MobileNet V2", "MobileNetV2Model", {"depth_multiplier": 0.35}),
        ("RegNet Y", "RegNetModel", {**RESIDUAL, "groups_width": 8}),
        ("RegNet X", "RegNetModel", {**RESIDUAL, "groups_width": 8, "layer_type": "x"}),
        ("ResNet, bottlenecks", "ResNetForImageClassification", RESIDUAL),
        ("ResNet, basic", "ResNetForImageClassification", {**RESIDUAL, "layer_type": "basic"}),
        ("BiT", "BitModel", {**RESIDUAL, "num_groups": 4}),
        ("SwiftFormer", "SwiftFormerModel", {"depths": [1, 1, 1, 1], "embed_dims": [16, 16, 32, 32]}),
        ("PP-LCNet", "PPLCNetForImageClassification", {"scale": 0.25}),
        (
            "HGNet V2",
            "HGNetV2ForImageClassification",
            {
                "stem_channels": [3, 8, 12],
                "stage_in_channels": [12, 16, 16, 16],
                "stage_mid_channels": [8, 8, 8, 8],
                "stage_out_channels": [16, 16, 16, 16],
                "stage_num_blocks": [1, 1, 1, 1],
                "stage_numb_of_layers": [2, 2, 2, 2],
                "hidden_sizes": [16, 16, 16, 16],
                "depths": [1, 1, 1, 1],
                "embedding_size": 12,
            },
        ),
        (
            "TextNet",
            "TextNetModel",
            {
                "stem_out_channels": 8,
                "hidden_sizes": [8, 8, 8, 16, 16],
                "conv_layer_kernel_sizes": [[[3, 3]], [[3, 1], [1, 3]], [[3, 3]], [[3, 3]]],
                "conv_layer_strides": [[1], [2, 1], [2], [2]],
            },
        ),
    ]
] + [
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
]


def _video(frames: int) -> Tensors:
    return {"pixel_values": torch.randn(2, frames, 3, 32, 32)}


VIDEOS = [
    configured(name, "vision", model, {**VIT, **settings}, functools.partial(_video, 4))
    for name, model, settings in [
        ("TimeSformer", "TimesformerModel", {"num_frames": 4}),
        ("VideoMAE", "VideoMAEForVideoClassification", {"num_frames": 4, "tubelet_size": 2}),
        ("ViViT", "VivitModel", {"num_frames": 4, "tubelet_size": [2, 8, 8]}),
    ]
]
WITH_OTHER_INPUTS = [
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
    configured(
        "ViT-MAE",
        "vision",
        "ViTMAEModel",
        {**VIT, "mask_ratio": 0.5},
        lambda: {**image(), "noise": torch.rand(2, 16)},
    ),
    configured(
        "V-JEPA 2",
        "vision",
        "VJEPA2Model",
        {
            **VIT,
            "crop_size": 32,
            "frames_per_clip": 4,
            "tubelet_size": 2,
            "pred_hidden_size": 24,
            "pred_num_hidden_layers": 1,
            "pred_num_attention_heads": 2,
        },
        lambda: {"pixel_values_videos": torch.randn(2, 4, 3, 32, 32)},
    ),
]

ARCHITECTURES = [*IMAGES, *VIDEOS, *WITH_OTHER_INPUTS]
