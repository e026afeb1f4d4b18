"""Cycles and DRAM traffic of `bitfusion` against what BitFusion's artifact publishes for its eight networks.

    git clone REPOSITORY && python benchmarks/against_bitfusion.py REPOSITORY

REPOSITORY is a copy of hsharma35/bitfusion on GitHub, of which only results/bitfusion-eyeriss-sim-sweep.csv is read,
the rows with 192 bits per cycle of DRAM; the layers below are those of its bitfusion/src/benchmarks, batches of 16, of
AlexNet and ResNet-18 the wide ones (WRPN), whose array cycles its table has. Ours is the same machine: 16 x 32 units of
8 by 8 bits, SRAMs of 32, 64 and 16 KiB in the smallest banks that there are, 24 bytes per cycle, the fewest cycles.
Prints ours by theirs for every layer, then for every network: cycles, and the factors that they are the product of;
bytes of DRAM, and those of operands only. What is off by more than 1.25 has its largest cause beside it:

- array: cycles of the array. Their units gain along the reduction only, tap by tap of a kernel, with nothing to fill
  and drain; ours gain by x along the reduction and by w along the columns, and run over all taps of a window.
- padding: their tiles are cut in powers of two, and the last one is as large as the others.
- waits theirs, waits ours: all cycles by cycles of the array; they move outputs as sums of 32 bits, in and out, and
  their SRAMs always keep pace; ours make the array wait where columns of narrow w have more sums than banks take.
- outputs: bytes of outputs, of which theirs have 64 bits both ways together, ours those of the next layer's inputs.
- operands: bytes of x and w. Theirs keep pixels in the input SRAM, ours whole windows, which leave room for fewer rows;
  ours may hold a tile that fills an SRAM, theirs half of it.
"""

import argparse
import csv
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bitwright.accelerators.precision_scalable.bitfusion import BitFusion
from bitwright.formats import Integer, PerTensor
from bitwright.methods.execution import Execution
from bitwright.methods.plan import OperandPlan, SitePlan
from bitwright.networks.sites import Site

BATCH, BANDWIDTH_BITS, NARROWEST = 16, 192, 2
INPUTS, OUTPUTS = 16, 32
"""Units along the reduction and along the columns."""
MACHINE = BitFusion(
    rows=2 * INPUTS,
    cols=2 * OUTPUTS,
    input_sram_kib=32,
    weight_sram_kib=64,
    output_sram_kib=16,
    sram_bank_kib=0.5,
    dram_bytes_per_cycle=BANDWIDTH_BITS / 8,
    objective="latency",
)
OFF = 1.25


@dataclass(frozen=True)
class Layer:
    """A convolution of square windows (kernel 1 and one output pixel: a product), x and w in bits."""

    network: str
    name: str
    kernel: int
    out: int
    stride: int
    channels: int
    filters: int
    x_bits: int
    w_bits: int

    @property
    def first(self) -> bool:
        """Whether the artifact takes its windows as one reduction."""
        return self.name in ("conv0", "conv1_a", "conv1_b") and self.channels <= 3

    @property
    def work(self) -> Execution:
        """As a product for a machine."""
        m, k = BATCH * self.out**2, self.kernel**2 * self.channels
        side = (self.out - 1) * self.stride + self.kernel
        read = min(m * k, BATCH * side**2 * self.channels)
        shape = {"m": m, "k": k, "n": self.filters, "x_elements": read, "w_elements": k * self.filters}
        site = Site(name=self.name, op="conv2d", groups=1, static_weight=True, **shape)
        x, w = (
            OperandPlan(format=Integer(bits=max(NARROWEST, bits), signed=True), granularity=PerTensor())
            for bits in (self.x_bits, self.w_bits)
        )
        return Execution(site=site, plan=SitePlan(x=x, w=w))

    @property
    def array_cycles(self) -> int:
        """Of the artifact's formula for the whole layer, without tiles."""
        gain = 8 // max(NARROWEST, self.x_bits) * (8 // max(NARROWEST, self.w_bits))
        taps, deep = (1, self.kernel**2 * self.channels) if self.first else (self.kernel**2, self.channels)
        steps = taps * -(-deep // (INPUTS * gain)) * -(-self.filters // OUTPUTS)
        return BATCH * self.out**2 * steps


def layers() -> Iterator[Layer]:
    """All that the artifact's table has."""
    for half in "ab":
        yield Layer("AlexNet", f"conv1_{half}", 11, 55, 4, 3, 96, 8, 8)
        yield Layer("AlexNet", f"conv2_{half}", 5, 27, 1, 96, 256, 4, 4)
        yield Layer("AlexNet", f"conv3_{half}", 3, 13, 1, 512, 384, 4, 4)
        yield Layer("AlexNet", f"conv4_{half}", 3, 13, 1, 384, 384, 4, 4)
        yield Layer("AlexNet", f"conv5_{half}", 3, 13, 1, 384, 256, 4, 4)
    yield Layer("AlexNet", "fc1", 1, 1, 1, 6 * 6 * 512, 8192, 4, 4)
    yield Layer("AlexNet", "fc2", 1, 1, 1, 8192, 8192, 4, 4)
    yield Layer("AlexNet", "fc3", 1, 1, 1, 8192, 1000, 8, 8)
    for network, width, bits, first_w in (("SVHN", 64, 1, 1), ("CIFAR10", 128, 2, 8)):
        yield Layer(network, "conv0", 3, 32, 1, 3, width, 8, first_w)
        yield Layer(network, "conv1", 3, 32, 1, width, width, bits, bits)
        yield Layer(network, "conv2", 3, 16, 1, width, 2 * width, bits, bits)
        yield Layer(network, "conv3", 3, 16, 1, 2 * width, 2 * width, bits, bits)
        yield Layer(network, "conv4", 3, 8, 1, 2 * width, 4 * width, bits, bits)
        yield Layer(network, "conv5", 3, 8, 1, 4 * width, 4 * width, bits, bits)
        yield Layer(network, "fc6", 1, 1, 1, 16 * 4 * width, 1024, bits, bits)
        yield Layer(network, "fc7", 1, 1, 1, 1024, 1024, bits, bits)
        yield Layer(network, "fc8", 1, 1, 1, 1024, 10, bits, bits)
    yield Layer("LeNet-5", "conv0", 5, 32, 1, 1, 32, 2, 2)
    yield Layer("LeNet-5", "conv1", 5, 16, 1, 32, 64, 2, 2)
    yield Layer("LeNet-5", "fc1", 1, 1, 1, 8 * 8 * 64, 512, 2, 2)
    yield Layer("LeNet-5", "fc2", 1, 1, 1, 512, 10, 2, 2)
    for half in "ab":
        yield Layer("VGG-7", f"conv1_{half}", 3, 32, 1, 3, 128, 2, 2)
        yield Layer("VGG-7", f"conv2_{half}", 3, 16, 1, 128, 256, 2, 2)
        yield Layer("VGG-7", f"conv3_{half}", 3, 8, 1, 256, 512, 2, 2)
    yield Layer("VGG-7", "fc1", 1, 1, 1, 4 * 4 * 512, 1024, 2, 2)
    yield Layer("RESNET-18", "conv1_a", 7, 112, 2, 3, 128, 8, 8)
    for module, (out, filters) in enumerate(((56, 128), (28, 256), (14, 512), (7, 1024)), 2):
        for block in (1, 2):
            narrower = block == 1 and module > 2
            inputs, stride = (filters // 2, 2) if narrower else (filters, 1)
            name = f"module{module}/conv{module}_{block}"
            yield Layer("RESNET-18", f"{name}_a", 1, out, stride, inputs, filters, 4, 4)
            yield Layer("RESNET-18", f"{name}_b", 3, out, 1, filters, filters, 4, 4)
    yield Layer("RNN", "matmul", 1, 1, 1, 4096, 4096, 4, 4)
    yield Layer("LSTM", "matmul", 1, 1, 1, 3600, 3600, 4, 4)


@dataclass(frozen=True)
class Told:
    """What one model says of a layer, or of a network: cycles, cycles of its array, bits of DRAM."""

    cycles: float
    array: float
    operands: float
    outputs: float

    def __add__(self, other: "Told") -> "Told":
        return Told(
            *(getattr(self, name) + getattr(other, name) for name in ("cycles", "array", "operands", "outputs"))
        )


def main() -> None:
    """Print the table; exit with 1 if a layer of it is unknown here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", type=Path)
    published = theirs(parser.parse_args().repository / "results" / "bitfusion-eyeriss-sim-sweep.csv")
    head = ("cycles", "array", "padding", "their waits", "our waits", "DRAM", "operands")
    print(f"{'layer':32s}" + "".join(f"{each:>12s}" for each in head) + "  cause")
    totals: dict[str, tuple[Told, Told, float]] = {}
    unknown = dict(published)
    for layer in layers():
        their, our = unknown.pop((layer.network, layer.name)), ours(layer)
        line(f"{layer.network} {layer.name}", our, their, layer.array_cycles)
        before = totals.get(layer.network, (Told(0, 0, 0, 0), Told(0, 0, 0, 0), 0))
        totals[layer.network] = (before[0] + our, before[1] + their, before[2] + layer.array_cycles)
    print()
    for network, (our, their, array) in totals.items():
        line(network, our, their, array)
    if unknown:
        sys.exit(f"not known here: {', '.join(map('/'.join, unknown))}")


def theirs(path: Path) -> dict[tuple[str, str], Told]:
    """By network and layer."""
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if int(row["Bandwidth (bits/cycle)"]) == BANDWIDTH_BITS]
    return {
        (row["Network"], row["Layer"].rsplit("/", 1)[0]): Told(
            cycles=int(row["Cycles"]),
            array=int(row["Cycles"]) - int(row["Memory wait cycles"]),
            operands=int(row["WBUF Write"]) + int(row["IBUF Write"]),
            outputs=int(row["DRAM Read"]) + int(row["DRAM Write"]) - int(row["WBUF Write"]) - int(row["IBUF Write"]),
        )
        for row in rows
    }


def ours(layer: Layer) -> Told:
    """On our machine."""
    ran = MACHINE.ran(layer.work)
    moved, read = ran.mapping, ran.mapping.dram_x_read_bytes + ran.mapping.dram_w_read_bytes
    return Told(
        cycles=ran.cost.cycles,
        array=ran.cost.busy_cycles["array"],
        operands=8 * read,
        outputs=8 * (moved.dram_read_bytes + moved.dram_write_bytes - read),
    )


def line(name: str, our: Told, their: Told, array: float) -> None:
    """One line of the table."""
    cycles = {
        "array": our.array / array,
        "padding": array / their.array,
        "waits theirs": their.array / their.cycles,
        "waits ours": our.cycles / our.array,
    }
    moved = {"operands": our.operands / their.operands, "outputs": our.outputs / their.outputs}
    total = our.cycles / their.cycles, (our.operands + our.outputs) / (their.operands + their.outputs)
    shares = {"operands": our.operands - their.operands, "outputs": our.outputs - their.outputs}
    causes = []
    if max(total[0], 1 / total[0]) > OFF:
        sign = math.log(total[0])
        causes.append(max(cycles, key=lambda each: math.log(cycles[each]) * sign))
    if max(total[1], 1 / total[1]) > OFF:
        sign = math.log(total[1])
        causes.append(max(shares, key=lambda each: shares[each] * sign))
    numbers = (total[0], *cycles.values(), total[1], moved["operands"])
    print(f"{name:32s}" + "".join(f"{each:12.2f}" for each in numbers) + f"  {', '.join(causes)}")


if __name__ == "__main__":
    main()
