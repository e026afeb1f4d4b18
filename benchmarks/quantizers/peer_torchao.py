"""torchao: its int8 configurations of linear layers, with SmoothQuant and without, and PT2E for a CNN; see `handed`.

Int8 weights alone are not compared. Its configurations of int8 take no convolutions, and its rotation (SpinQuant)
only networks written like its own.
"""

import torch
from handed import Handed, Runs
from torchao.prototype.smoothquant import SmoothQuantConfig
from torchao.quantization import (
    Int8DynamicActivationInt8WeightConfig,
    Int8StaticActivationInt8WeightConfig,
    MappingType,
    PerRow,
    PerTensor,
    quantize_,
)
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
    X86InductorQuantizer,
    get_default_x86_inductor_quantization_config,
)

INPUTS = "weights, inputs of products"
ALPHA = 0.5
"""SmoothQuant's migration strength, torchao's default."""
Config = Int8DynamicActivationInt8WeightConfig | Int8StaticActivationInt8WeightConfig


def untied(handed: Handed) -> torch.nn.Module:
    """The network, whose embedding is not its head."""
    network = handed.module()
    if handed.kind == "language":
        network.lm_head.weight = torch.nn.Parameter(network.lm_head.weight.detach().clone())
        network.config.tie_word_embeddings = False
    return network


def quantized(handed: Handed, config: Config) -> Runs:
    """Linear layers with scales at run time."""
    network = untied(handed)
    quantize_(network, config)
    return handed.runs(network)


def smoothed(handed: Handed, config: Config, alpha: float | None) -> Runs:
    """Linear layers after SmoothQuant; without alpha, calibrated and not smoothed."""
    network = untied(handed)
    quantize_(network, SmoothQuantConfig(base_config=config, step="prepare", alpha=alpha))
    handed.feed(network, handed.together())
    quantize_(network, SmoothQuantConfig(base_config=config, step="convert", alpha=alpha))
    return handed.runs(network)


def exported(handed: Handed) -> Runs:
    """A CNN by PT2E, for x86: products' inputs are of a tensor and have zero points, found by histograms."""
    example = (handed.calibration[0]["pixel_values"],)
    sizes = ({0: torch.export.Dim("batch", min=1, max=1024)},)
    network = torch.export.export(handed.module(), example, dynamic_shapes=sizes).module()
    quantizer = X86InductorQuantizer().set_global(get_default_x86_inductor_quantization_config())
    network = prepare_pt2e(network, quantizer)
    for batch in handed.calibration:
        network(batch["pixel_values"])
    return handed.runs(convert_pt2e(network))


def main() -> None:
    """All rows of one network."""
    handed = Handed()
    handed.attempt("float", "nothing", lambda: handed.runs(handed.module()))
    if handed.kind == "image":
        handed.attempt("static, PT2E for x86", INPUTS, lambda: exported(handed))
        return
    symmetric = Int8DynamicActivationInt8WeightConfig()
    asymmetric = Int8DynamicActivationInt8WeightConfig(act_mapping_type=MappingType.ASYMMETRIC)
    static = Int8StaticActivationInt8WeightConfig(granularity=[PerTensor(), PerRow()])
    handed.attempt("dynamic, per token", INPUTS, lambda: quantized(handed, symmetric))
    handed.attempt("dynamic, per token, asymmetric", INPUTS, lambda: quantized(handed, asymmetric))
    handed.attempt("dynamic, per token, SmoothQuant", INPUTS, lambda: smoothed(handed, symmetric, ALPHA))
    handed.attempt("static", INPUTS, lambda: smoothed(handed, static, None))
    handed.attempt("static, SmoothQuant", INPUTS, lambda: smoothed(handed, static, ALPHA))


if __name__ == "__main__":
    main()
