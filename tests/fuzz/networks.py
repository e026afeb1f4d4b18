"""Files that are networks or pictures: ONNX, safetensors beside a configuration, GGUF, JPEG and PNG."""

import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.fuzz import mutations

from bitwright.networks.load import load
from bitwright.tasks.pictures import open_picture, pixels_of
from bitwright.tasks.top1 import top1


def _bytes_of(
    name: str, seeds: list[bytes], read: Callable[[str], object], structured: Callable[..., bytes] | None = None
):
    def maker(rng: random.Random, *, plain: bool = False):
        content = seeds[0] if plain else rng.choice(seeds)
        if not plain:
            by_structure = structured is not None and rng.random() < 0.6
            content = (
                structured(rng, content) if by_structure and structured else mutations.of_bytes(rng, content, seeds)
            )

        def case() -> None:
            Path(name).write_bytes(content)
            read(name)

        return case

    return maker


def _onnx_seeds() -> list[bytes]:
    from onnx import TensorProto, helper, numpy_helper

    def model(nodes: list[Any], constants: dict[str, np.ndarray], shape: list[Any], rank: int = 2) -> bytes:
        graph = helper.make_graph(
            [helper.make_node(op, ins, outs, **attributes) for op, ins, outs, attributes in nodes],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * rank)],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return bytes(made.SerializeToString())

    w = np.linspace(-1, 1, 32, dtype=np.float32)
    return [
        model([("Gemm", ["x", "w", "b"], ["h"], {"transB": 1}), ("Relu", ["h"], ["y"], {})], {"w": w.reshape(4, 8), "b": w[:4]}, [2, 8]),
        model([("Conv", ["x", "w"], ["h"], {"kernel_shape": [2, 2], "pads": [1, 1, 1, 1]}), ("GlobalAveragePool", ["h"], ["y"], {})], {"w": w.reshape(4, 2, 2, 2)}, [1, 2, 6, 6]),
        model(
            [("QuantizeLinear", ["x", "s", "z"], ["q"], {}), ("DequantizeLinear", ["q", "s", "z"], ["d"], {}), ("MatMul", ["d", "w"], ["m"], {}),
             ("Reshape", ["m", "shape"], ["r"], {}), ("Softmax", ["r"], ["y"], {"axis": -1})],
            {"s": np.float32(0.1).reshape(()), "z": np.uint8(3).reshape(()), "w": w.reshape(8, 4), "shape": np.array([-1, 2], np.int64)},
            ["n", 8],
        ),
    ]  # fmt: skip


def _onnx_changed(rng: random.Random, content: bytes) -> bytes:
    """Another operator, attribute, name, type or size, in a file that parses."""
    import onnx

    model = onnx.ModelProto()
    model.ParseFromString(content)
    nodes, constants = model.graph.node, model.graph.initializer
    for _ in range(rng.choice((1, 1, 2, 3))):
        node = rng.choice(nodes)
        match rng.randrange(10):
            case 0:
                node.op_type = rng.choice(("If", "Loop", "Scan", "LSTM", "Einsum", "Gather", "Slice", "Pad", "Resize", "Concat", "Split", "Expand", "Tile", "TopK", "Range", "Where", "NonZero", "MaxPool", "ConvTranspose", "Cast", "Nope", ""))  # fmt: skip
            case 1 if node.input:
                node.input[rng.randrange(len(node.input))] = rng.choice(("", "x", "w", "y", "nobody", "a" * 2000))
            case 2 if node.attribute:
                attribute = rng.choice(node.attribute)
                attribute.i = rng.choice((0, -1, 2**31, 2**62))
                attribute.type = rng.choice((1, 2, 3, 4, 7, 0))
                if attribute.ints:
                    attribute.ints[0] = attribute.i
            case 3:
                node.attribute.add(
                    name=rng.choice(("axis", "to", "kernel_shape", "group", "perm", "")),
                    i=rng.choice((0, -9, 2**40)),
                    type=2,
                )
            case 4 if constants:
                constant = rng.choice(constants)
                constant.data_type = rng.choice((0, 1, 2, 7, 8, 10, 16, 99))
            case 5 if constants:
                constant = rng.choice(constants)
                if constant.dims:
                    constant.dims[0] = rng.choice((0, -1, 3, 2**31, 2**62))
                else:
                    constant.dims.append(5)
            case 6:
                sizes = model.graph.input[0].type.tensor_type.shape.dim
                rng.choice(sizes).dim_value = rng.choice((0, -1, 1, 7, 10**6, 2**40, 2**62))
            case 7:
                nodes.append(node)
            case 8 if constants:
                constant = rng.choice(constants)
                constant.data_location = 1
                constant.external_data.add(
                    key="location", value=rng.choice(("x.bin", "../../etc/passwd", "/dev/zero", "given.onnx"))
                )
            case _:
                model.opset_import[0].version = rng.choice((0, -1, 1, 9, 21, 999))
    return bytes(model.SerializeToString())


def onnx_files(folder: Path):
    """Three small files; the network that is read runs once."""

    def read(name: str) -> None:
        network = load(name)
        assert network.example is not None
        from bitwright.networks.network import InputShape

        network.forward(network.example(InputShape()))

    return _bytes_of("given.onnx", _onnx_seeds(), read, _onnx_changed)


def _bert(folder: Path) -> None:
    import transformers

    config = transformers.BertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, vocab_size=50
    )
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(folder)


def safetensors_files(folder: Path):
    """Weights beside their configuration."""
    _bert(folder)

    def changed(rng: random.Random, content: bytes) -> bytes:
        length = int.from_bytes(content[:8], "little")
        try:
            header = json.dumps(mutations.of_tree(rng, json.loads(content[8 : 8 + length]))).encode()
        except (ValueError, TypeError):
            header = content[8 : 8 + length]
        return len(header).to_bytes(8, "little") + header + content[8 + length :]

    return _bytes_of("model.safetensors", [(folder / "model.safetensors").read_bytes()], load, changed)


def folders(folder: Path):
    """Folders of Hugging Face's, whose configuration is changed; with weights, and without."""
    _bert(folder / "whole")
    weights = (folder / "whole" / "model.safetensors").read_bytes()
    configuration = json.loads((folder / "whole" / "config.json").read_text())
    others = ["gpt2", "llama", "mistral", "nobody", "auto", {"auto_map": {"AutoModel": "x.Y"}}]

    def maker(rng: random.Random, *, plain: bool = False):
        tree = dict(configuration)
        if not plain and rng.random() < 0.3:
            tree["model_type"] = rng.choice(
                ("gpt2", "llama", "t5", "mamba", "vit", "whisper", "clip", "mixtral", "gemma2", "bloom")
            )
            tree["architectures"] = rng.choice((["GPT2LMHeadModel"], ["LlamaForCausalLM"], None, ["X"], []))
        content = json.dumps(tree if plain else mutations.of_tree(rng, tree, others)).encode()
        content = content if plain or rng.random() < 0.8 else mutations.of_bytes(rng, content)
        with_weights = plain or rng.random() < 0.5

        def case() -> None:
            given = folder / "given"
            given.mkdir(exist_ok=True)
            (given / "model.safetensors").unlink(missing_ok=True)
            if with_weights:
                (given / "model.safetensors").write_bytes(weights)
            (given / "config.json").write_bytes(content)
            load("given")

        return case

    return maker


def gguf_files(folder: Path):
    """A small Llama's file: its keys, types, sizes and bytes."""
    from tests.gguf_files import llama

    whole = llama(folder / "whole.gguf", ["F32", "Q8_0", "Q4_1"], hidden=32)
    return _bytes_of("given.gguf", [whole.read_bytes()], load)


def pictures(folder: Path):
    """JPEG and PNG, read as labelled images."""
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 255, (40, 48, 3), dtype=np.uint8)
    seeds = []
    for form, mode in (
        ("PNG", "RGB"),
        ("PNG", "P"),
        ("PNG", "I;16"),
        ("PNG", "LA"),
        ("JPEG", "RGB"),
        ("JPEG", "CMYK"),
        ("GIF", "P"),
        ("PPM", "RGB"),
    ):
        image = Image.fromarray(noise)
        made = Image.fromarray(noise[..., 0].astype(np.uint16)) if mode == "I;16" else image.convert(mode)
        stream = io.BytesIO()
        made.save(stream, form)
        seeds.append(stream.getvalue())
    place = folder / "pictures"
    place.mkdir()

    def read(name: str) -> None:
        (place / "0001_x.png").write_bytes(Path(name).read_bytes())
        top1(data=place)
        open_picture(place / "0001_x.png").close()
        pixels_of(place / "0001_x.png")

    return _bytes_of("given.png", seeds, read)
