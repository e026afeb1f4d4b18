"""Brevitas, with the flows of its own examples: layer by layer, or through the graph of a CNN; see `handed`.

Weights have a scale per channel, activations one of a tensor or, at run time, one of a token. Calibrated first; then
GPTQ, then bias correction, where they are asked for. Its graph equalization takes ReLU6 for ReLU, as its example does.
"""

from collections.abc import Callable
from typing import Any

import torch
from brevitas.graph.calibrate import bias_correction_mode, calibration_mode
from brevitas.graph.equalize import LayerwiseActivationRotation, activation_equalization_mode
from brevitas.graph.gptq import gptq_mode
from brevitas.graph.quantize import layerwise_quantize, preprocess_for_quantize
from brevitas_examples.common.generative.quantize import generate_quant_maps, generate_quantizers
from brevitas_examples.imagenet_classification.ptq.ptq_common import quantize_model
from handed import Handed, Runs

INPUTS = "weights, inputs of products"
ALL = "weights, all operators"
EQUALIZED, SMOOTHED, ROTATED = "graph equalization", "SmoothQuant", "rotation"
GPTQ, CORRECTED = "GPTQ", "bias correction"
CNN: list[tuple[str, str, tuple[str, ...]]] = [  # backend, type of activations, steps
    ("fx", "sym", ()),
    ("fx", "asym", ()),
    ("fx", "asym", (CORRECTED,)),
    ("fx", "sym", (EQUALIZED, CORRECTED)),
    ("layerwise", "sym", ()),
    ("layerwise", "asym", ()),
    ("layerwise", "asym", (CORRECTED,)),
    ("layerwise", "asym", (GPTQ, CORRECTED)),
]
TOKENS: list[tuple[str, str, tuple[str, ...]]] = [  # when, type of activations, steps
    ("static", "sym", ()),
    ("static", "asym", ()),
    ("static", "asym", (CORRECTED,)),
    ("static", "asym", (SMOOTHED,)),
    ("static", "asym", (ROTATED,)),
    ("static", "asym", (ROTATED, CORRECTED)),
    ("static", "asym", (ROTATED, GPTQ)),
    ("dynamic", "sym", ()),
    ("dynamic", "asym", ()),
    ("dynamic", "sym", (SMOOTHED,)),
    ("dynamic", "sym", (ROTATED,)),
    ("dynamic", "asym", (ROTATED,)),
    ("dynamic", "asym", (ROTATED, CORRECTED)),
    ("dynamic", "sym", (ROTATED, GPTQ)),
    ("dynamic", "asym", (ROTATED, GPTQ)),
    ("dynamic", "asym", (ROTATED, GPTQ, CORRECTED)),
]
ALPHA = 0.5
"""SmoothQuant's migration strength, Brevitas's default."""


def finish(handed: Handed, network: torch.nn.Module, steps: tuple[str, ...], *, static: bool) -> Runs:
    """Calibrate, and take the steps that follow."""

    def everything(module: torch.nn.Module) -> None:
        for batch in handed.calibration:
            handed.feed(module, batch)

    network.eval()
    handed.feed(network, handed.calibration[0])  # scales of weights
    if static:
        with calibration_mode(network):
            everything(network)
    if GPTQ in steps:
        with gptq_mode(network, use_quant_activations=False, create_weight_orig=True) as gptq:
            for _ in range(gptq.num_layers):
                everything(gptq.model)
                gptq.update()
    if CORRECTED in steps:
        with bias_correction_mode(network):
            everything(network)
    return handed.runs(network)


def cnn(handed: Handed, backend: str, kind: str, steps: tuple[str, ...]) -> Runs:
    """A quantized CNN."""
    equalize = EQUALIZED in steps
    network = handed.module()
    if not equalize:  # it has no ReLU6 of its own: its ReLU would stand for it, without a bound
        for name, layer in list(network.named_modules()):
            if isinstance(layer, torch.nn.ReLU6):
                network.set_submodule(name, torch.nn.Hardtanh(0.0, 6.0))
    network = preprocess_for_quantize(
        network, relu6_to_relu=equalize, equalize_iters=20 if equalize else 0, equalize_merge_bias=True
    )
    network = quantize_model(
        network,
        backend=backend,
        weight_bit_width=8,
        act_bit_width=8,
        bias_bit_width=32 if backend == "fx" else None,
        weight_quant_granularity="per_channel",
        act_quant_percentile=99.999,
        act_quant_type=kind,
        scale_factor_type="float_scale",
        quant_format="int",
    )
    return finish(handed, network, steps, static=True)


def tokens(handed: Handed, when: str, kind: str, steps: tuple[str, ...]) -> Runs:
    """A quantized encoder or language model."""
    network = handed.module()
    if handed.kind == "language":  # its head is the embedding, which stays float
        network.lm_head.weight = torch.nn.Parameter(network.lm_head.weight.detach().clone())
        network.config.tie_word_embeddings = False
    if ROTATED in steps:
        network = LayerwiseActivationRotation().apply(network)
    if SMOOTHED in steps:
        with activation_equalization_mode(network, ALPHA, add_mul_node=True, layerwise=True):
            handed.feed(network, handed.together())
    quantizers = generate_quantizers(
        weight_bit_width=8,
        weight_param_method="stats",
        weight_scale_precision="float_scale",
        weight_quant_type="sym",
        weight_quant_granularity="per_channel",
        weight_group_size=None,
        quantize_weight_zero_point=False,
        input_bit_width=8,
        input_quant_format="int",
        input_scale_precision="float_scale",
        input_scale_type=when,
        input_param_method="stats",
        input_quant_type=kind,
        input_quant_granularity="per_tensor" if when == "static" else "per_row",
        quantize_input_zero_point=kind == "asym",
    )
    layers: Any = generate_quant_maps(**quantizers, dtype=torch.float32, device="cpu", quantize_embedding=False)
    return finish(handed, layerwise_quantize(network, compute_layer_map=layers), steps, static=when == "static")


def main() -> None:
    """All rows of one network."""
    handed = Handed()
    handed.attempt("float", "nothing", lambda: handed.runs(handed.module()))
    if handed.kind == "image":
        unbounded = "float, ReLU6 as ReLU"
        handed.attempt(unbounded, "nothing", lambda: handed.runs(preprocess_for_quantize(handed.module())))
    make: Callable[..., Runs] = cnn if handed.kind == "image" else tokens
    for how, kind, steps in CNN if handed.kind == "image" else TOKENS:
        if handed.kind == "language" and (GPTQ in steps or CORRECTED in steps):
            continue  # GPTQ passes all samples once for each of 211 layers: half an hour; and there are no biases
        said = f"static, {how}" if handed.kind == "image" else how if how == "static" else "dynamic, per token"
        said = ", ".join((said, f"{kind} activations", *steps))
        quantized = ALL if how == "fx" else INPUTS
        handed.attempt(said, quantized, lambda how=how, kind=kind, steps=steps: make(handed, how, kind, steps))


if __name__ == "__main__":
    main()
