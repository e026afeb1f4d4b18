"""Small GGUF files: blocks of every type that is read, and a whole Llama."""

import numpy as np
import pytest

from bitwright.networks.gguf_blocks import TYPES

gguf = pytest.importorskip("gguf", reason="GGUF files are read by the package gguf")

HALVES = {"Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}
"""Where float16 numbers lie in the blocks of types that the package does not write."""


def blocks(name, rows, k, seed=0):
    """Rows [rows, bytes] of random blocks of a type, whose float16 numbers are of weights' order."""
    rng, kind = np.random.default_rng(seed), TYPES[name]
    own = gguf.GGMLQuantizationType[name]
    if name not in HALVES:
        return gguf.quantize(rng.standard_normal((rows, k)).astype(np.float32), own)
    raw = rng.integers(0, 256, (rows * k // kind.block, kind.stored), dtype=np.uint8)
    for place in HALVES[name]:
        raw[:, place : place + 2] = rng.uniform(1e-3, 1e-2, (len(raw), 1)).astype(np.float16).view(np.uint8)
    return raw.reshape(rows, -1)


def llama(path, kinds, hidden=256, layers=1):
    """A small Llama's GGUF file, matrices by the types of `kinds` in turn."""
    rng, turn = np.random.default_rng(1), iter(range(10**6))
    writer = gguf.GGUFWriter(path, "llama")
    for name, value in (
        ("context_length", 32),
        ("embedding_length", hidden),
        ("block_count", layers),
        ("feed_forward_length", hidden),
        ("head_count", 4),
        ("head_count_kv", 4),
        ("vocab_size", 32),
    ):
        getattr(writer, f"add_{name}")(value)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(["<unk>", "<s>", "</s>", *(chr(97 + i) for i in range(29))])
    writer.add_token_scores([0.0] * 32)
    writer.add_token_types([2, 3, 3, *[1] * 29])
    for norm in ("output_norm", *(f"blk.{i}.{each}_norm" for i in range(layers) for each in ("attn", "ffn"))):
        writer.add_tensor(f"{norm}.weight", np.ones(hidden, np.float32))
    names = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]
    matrices = [("token_embd", 32), ("output", 32), *((f"blk.{i}.{n}", hidden) for i in range(layers) for n in names)]
    for name, rows in matrices:
        kind = kinds[next(turn) % len(kinds)]
        if kind in TYPES:
            raw = blocks(kind, rows, hidden, seed=next(turn))
            writer.add_tensor(f"{name}.weight", raw, raw_dtype=gguf.GGMLQuantizationType[kind])
        elif kind == "IQ4_NL":
            raw = rng.integers(0, 256, (rows, hidden // 32, 18), dtype=np.uint8)
            raw[..., :2] = np.full((rows, hidden // 32, 1), 0.01, np.float16).view(np.uint8)
            writer.add_tensor(f"{name}.weight", raw.reshape(rows, -1), raw_dtype=gguf.GGMLQuantizationType.IQ4_NL)
        else:
            writer.add_tensor(f"{name}.weight", rng.standard_normal((rows, hidden)).astype(np.float32) * 0.05)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
