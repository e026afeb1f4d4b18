"""Networks by their published sizes, without weights: built on torch's meta device, in milliseconds, from code alone.

Convolutional ones are this package's own modules, the others those of `transformers`. Each function cites its sizes.
With a file of weights (`load(..., weights=...)`) the same modules are built in memory and compute.
"""

from collections.abc import Callable
from typing import Any

import torch

from bitwright.networks import convnets, efficientvit
from bitwright.networks.images import IMAGENET_DEVIATION, IMAGENET_MEAN, Preprocess
from bitwright.networks.inputs import (
    ImageExample,
    TokenExample,
    cache_of,
    output_tensor,
    run_image,
    run_language,
    run_sentence,
)
from bitwright.networks.network import Batch, InputShape, Network
from bitwright.networks.packages import require

SDPA: dict[str, Any] = {"attn_implementation": "sdpa"}  # one call per attention, which sites are found in
IMAGENET: dict[str, Any] = {"num_labels": 1000}
ADE20K: dict[str, Any] = {"num_labels": 150}
HALF = (127.5, 127.5, 127.5)  # pixels to [-1, 1], as google/vit-base-patch16-224 was trained


def build(name: str, shape: InputShape, device: str = "meta") -> Network:
    """The network `name`, one of `NETWORKS`; on a device other than meta, with torch's initial weights."""
    if name not in OWN_MODULES:
        require(name, ["transformers"])
    with torch.device(device):
        return NETWORKS[name](name, shape)


def _resnet18(name: str, shape: InputShape) -> Network:
    """He et al., CVPR 2016, table 1: 1.8 G multiply-accumulates."""
    return _image(name, convnets.resnet18(), shape, source="He et al., CVPR 2016")


def _resnet50(name: str, shape: InputShape) -> Network:
    """He et al., CVPR 2016, table 1; 4.1 G multiply-accumulates with the stride in the 3x3 convolution."""
    return _image(name, convnets.resnet50(), shape, source="He et al., CVPR 2016, stride as in torchvision")


def _mobilenetv2(name: str, shape: InputShape) -> Network:
    """Sandler et al., CVPR 2018, table 2: 300 M multiply-accumulates, 3.4 M parameters."""
    return _image(name, convnets.MobileNetV2(), shape, source="Sandler et al., CVPR 2018")


def _vit_base(name: str, shape: InputShape) -> Network:
    """ViT-B/16: 12 layers, 768, MLP 3,072, 12 heads (Dosovitskiy et al., ICLR 2021, table 1)."""
    return _vit(name, shape, mean=HALF, deviation=HALF, source="Dosovitskiy et al., ICLR 2021")


def _deit_base(name: str, shape: InputShape) -> Network:
    """DeiT-B is ViT-B, trained differently (Touvron et al., ICML 2021, table 1)."""
    return _vit(name, shape, mean=IMAGENET_MEAN, deviation=IMAGENET_DEVIATION, source="Touvron et al., ICML 2021")


def _vit(
    name: str,
    shape: InputShape,
    *,
    mean: tuple[float, float, float],
    deviation: tuple[float, float, float],
    source: str,
) -> Network:
    from transformers import ViTConfig, ViTForImageClassification

    module = ViTForImageClassification(
        ViTConfig(
            hidden_size=768,
            num_hidden_layers=12,
            num_attention_heads=12,
            intermediate_size=3072,
            image_size=224,
            patch_size=16,
            **SDPA,
            **IMAGENET,
        )
    )

    def run(module: torch.nn.Module, batch: Batch) -> torch.Tensor:
        pixels = batch["pixel_values"]
        return output_tensor(module(pixels, interpolate_pos_encoding=pixels.shape[-1] != 224))

    return _image(name, module, shape, run=run, multiple_of=16, mean=mean, deviation=deviation, source=source)


def _segformer_b0(name: str, shape: InputShape) -> Network:
    """SegFormer-B0: Xie et al., NeurIPS 2021, tables 1 (8.4 G on ADE20K at 512 px, 3.8 M parameters) and 6."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    module = SegformerForSemanticSegmentation(
        SegformerConfig(
            depths=[2, 2, 2, 2],
            sr_ratios=[8, 4, 2, 1],
            hidden_sizes=[32, 64, 160, 256],
            patch_sizes=[7, 3, 3, 3],
            strides=[4, 2, 2, 2],
            num_attention_heads=[1, 2, 5, 8],
            mlp_ratios=[4, 4, 4, 4],
            decoder_hidden_size=256,
            **SDPA,
            **ADE20K,
        )
    )
    return _image(name, module, shape, image_size=512, multiple_of=32, source="Xie et al., NeurIPS 2021")


def _efficientvit_b1(name: str, shape: InputShape) -> Network:
    """EfficientViT-B1 of MIT: Cai et al., ICCV 2023; 3.1 G on ADE20K at 512 px, 4.8 M parameters (its repository)."""
    module = efficientvit.EfficientViTB1()
    return _image(name, module, shape, image_size=512, multiple_of=32, source="Cai et al., ICCV 2023")


def _bert_base(name: str, shape: InputShape) -> Network:
    """BERT-Base: 12 layers, 768, 12 heads, 110 M parameters (Devlin et al., NAACL 2019, section 3)."""
    from transformers import BertConfig, BertModel

    module = BertModel(
        BertConfig(
            vocab_size=30522,
            hidden_size=768,
            num_hidden_layers=12,
            num_attention_heads=12,
            intermediate_size=3072,
            max_position_embeddings=512,
            **SDPA,
        )
    )
    tokens = shape.sequence_length or 128
    return Network(
        name=name,
        kind="sentence",
        module=module,
        run=run_sentence,
        example=TokenExample(name=name, module=module, tokens=tokens, positions=512),
        tools={"sequence_length": tokens},
        source="sizes of Devlin et al., NAACL 2019",
    )


def _gpt2(name: str, shape: InputShape) -> Network:
    """GPT-2 small: 12 layers, 768 (Radford et al., 2019, table 2); heads and vocabulary as released."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=50257, n_positions=1024, n_embd=768, n_layer=12, n_head=12, **SDPA)
    return _language(name, GPT2LMHeadModel(config), shape, tokens=1024, positions=1024, source="Radford et al., 2019")


def _opt_2_7b(name: str, shape: InputShape) -> Network:
    """OPT-2.7B: 32 layers, 32 heads, 2,560 (Zhang et al., 2022, table 1)."""
    return _opt(name, shape, hidden_size=2560)


def _opt_6_7b(name: str, shape: InputShape) -> Network:
    """OPT-6.7B: 32 layers, 32 heads, 4,096 (Zhang et al., 2022, table 1)."""
    return _opt(name, shape, hidden_size=4096)


def _opt(name: str, shape: InputShape, *, hidden_size: int) -> Network:
    from transformers import OPTConfig, OPTForCausalLM

    module = OPTForCausalLM(
        OPTConfig(
            vocab_size=50272,
            hidden_size=hidden_size,
            word_embed_proj_dim=hidden_size,
            num_hidden_layers=32,
            num_attention_heads=32,
            ffn_dim=4 * hidden_size,
            max_position_embeddings=2048,
            **SDPA,
        )
    )
    return _language(name, module, shape, tokens=2048, positions=2048, source="Zhang et al., 2022, arXiv:2205.01068")


def _llama2_7b(name: str, shape: InputShape) -> Network:
    """LLaMA 2 7B: LLaMA's 32 layers, 32 heads, 4,096 (Touvron et al., 2023, arXiv:2302.13971, table 2), 4,096 tokens.

    Width of the MLP and size of the vocabulary as released.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    module = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=32000,
            hidden_size=4096,
            intermediate_size=11008,
            num_hidden_layers=32,
            num_attention_heads=32,
            max_position_embeddings=4096,
            rms_norm_eps=1e-5,
            **SDPA,
        )
    )
    return _language(name, module, shape, tokens=4096, source="Touvron et al., 2023, arXiv:2307.09288")


def _image(
    name: str,
    module: torch.nn.Module,
    shape: InputShape,
    *,
    image_size: int = 224,
    multiple_of: int = 1,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    deviation: tuple[float, float, float] = IMAGENET_DEVIATION,
    run: Callable[[torch.nn.Module, Batch], torch.Tensor] = run_image,
    source: str,
) -> Network:
    size = shape.image_size or image_size
    return Network(
        name=name,
        kind="image",
        module=module,
        run=run,
        example=ImageExample(name=name, module=module, image_size=size, multiple_of=multiple_of),
        tools={"image_size": size, "preprocess": Preprocess(image_size=size, mean=mean, deviation=deviation)},
        source=f"sizes of {source}",
    )


def _language(
    name: str, module: torch.nn.Module, shape: InputShape, *, tokens: int, positions: int | None = None, source: str
) -> Network:
    tokens = shape.sequence_length or tokens
    cache = cache_of(module.config)
    return Network(
        name=name,
        kind="language",
        module=module,
        run=run_language,
        example=TokenExample(name=name, module=module, tokens=tokens, positions=positions, cache=cache),
        tools={"sequence_length": tokens},
        source=f"sizes of {source}",
    )


NETWORKS: dict[str, Callable[[str, InputShape], Network]] = {
    "resnet18": _resnet18,
    "resnet50": _resnet50,
    "mobilenetv2": _mobilenetv2,
    "vit-base": _vit_base,
    "deit-base": _deit_base,
    "segformer-b0": _segformer_b0,
    "efficientvit-b1": _efficientvit_b1,
    "bert-base": _bert_base,
    "gpt2": _gpt2,
    "opt-2.7b": _opt_2_7b,
    "opt-6.7b": _opt_6_7b,
    "llama2-7b": _llama2_7b,
}
OWN_MODULES = {"resnet18", "resnet50", "mobilenetv2", "efficientvit-b1"}
