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
