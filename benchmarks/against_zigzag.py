"""Energy and cycles of 20 layers on `systolic-os` against ZigZag 3.9.1, on a machine described to it alike.

    python benchmarks/against_zigzag.py [--venv FOLDER] [--srams whole|doubled] [--loops N]

ZigZag is installed into an environment of its own, FOLDER, which is made where it is not (without: a temporary one), by
pip from the package index. What it is told is taken from `systolic-os`: 24 x 32 units that unroll m and n, a 32-bit
partial sum in each, three SRAMs and a DRAM of our bandwidth; and from the events of one of its runs: what a bit costs
to read and to write in each SRAM and in DRAM, and a multiply-accumulate. Registers cost nothing there, because our
unit's price includes them. ZigZag gets all of each SRAM and buffers twice where it likes (`whole`), or wherever an
operand does not fit whole (`doubled`); ours are buffered twice where two tiles fit.
`--loops` is how many factors of loops it permutes (its lpf_limit).

Layers are products m x k x n of 8-bit operands and 32-bit partial sums, searched for the least energy and for the
fewest cycles. Prints what both found, ours by ZigZag's, then the geometric mean and the range of these ratios, and the
seconds that the searches took, start-up excluded. Two minutes.

Compared is what both count, multiply-accumulates, SRAMs and DRAM, of operands with one scale each; what only we count,
such as leakage, requantization and registers, is left out, though our search for the least energy counts it. What
differs still: ZigZag keeps each operand at loops of its own, where we cut one tile for all three SRAMs; but it cuts an
axis only by factors of its number of folds, and where that is prime, not at all. It counts no biases, and neither that
operands enter an array row by row: 54 cycles, which is what short products have more here. The units that a fold leaves
idle it spreads over all folds, and rounds down what is read for the others.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import bitwright
from bitwright.studies.machines import build_accelerators
from bitwright.studies.simulate import simulate

PACKAGES = ("zigzag-dse==3.9.1", "six")
MACHINE = "systolic-os"
PER_TENSOR = {"w_granularity": "tensor"}
"""ZigZag moves no scales of channels."""
OBJECTIVES = ("energy", "latency")
SRAMS = ("sram_input", "sram_weight", "sram_output")
COUNTED = ("mac", *SRAMS, "dram")
"""What both count."""
LAYERS = {  # m, k, n
    "BERT qkv, projection": (128, 768, 768),
    "BERT scores, a head": (128, 64, 128),
    "BERT context, a head": (128, 128, 64),
    "BERT ff1": (128, 768, 3072),
    "BERT ff2": (128, 3072, 768),
    "ViT qkv, projection": (197, 768, 768),
    "ViT scores, a head": (197, 64, 197),
    "ViT context, a head": (197, 197, 64),
    "ViT ff1": (197, 768, 3072),
    "ViT ff2": (197, 3072, 768),
    "ResNet conv1": (12544, 147, 64),
    "ResNet conv2 3 x 3": (3136, 576, 64),
    "ResNet conv2 expand": (3136, 64, 256),
    "ResNet conv3 3 x 3": (784, 1152, 128),
    "ResNet conv4 3 x 3": (196, 2304, 256),
    "ResNet conv5 3 x 3": (49, 4608, 512),
    "ResNet conv5 reduce": (49, 2048, 512),
    "MobileNet 28 x 28 expand": (784, 32, 192),
    "MobileNet 14 x 14 project": (196, 384, 64),
    "MobileNet last": (49, 320, 1280),
}
INSIDE = """
import json, logging, sys, time
from zigzag.api import get_hardware_performance_zigzag as find

logging.disable(logging.CRITICAL)
found = []
for workload, objective in json.loads(sys.argv[1]):
    start = time.perf_counter()
    energy, cycles, *_ = find(
        workload, "machine.yaml", "mapping.yaml", opt=objective, lpf_limit=int(sys.argv[2]),
        dump_folder="out", pickle_filename="out/found.pickle", loma_show_progress_bar=False,
    )
    found.append((energy, cycles, time.perf_counter() - start))
with open("found.json", "w") as file:
    json.dump(found, file)
"""
BANDWIDTH = "dram bytes per cycle"
BITS_PER_KIB = 8 * 1024


def main() -> None:
    """Print what both find, layer by layer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=Path, help="where ZigZag is, or shall be installed")
    parser.add_argument(
        "--srams", choices=("whole", "doubled"), default="whole", help="whether ZigZag must buffer twice"
    )
    parser.add_argument("--loops", type=int, default=6, help="its lpf_limit")
    arguments = parser.parse_args()
    machines = {objective: build_accelerators([MACHINE], {"objective": objective})[MACHINE] for objective in OBJECTIVES}
    paid = prices(machines["energy"])
    print("pJ of a bit, and of a mac: " + ", ".join(f"{key} {pj:.4g}" for key, pj in paid.items() if key != BANDWIDTH))
    described = description(machines["energy"], paid, srams=arguments.srams)
    with tempfile.TemporaryDirectory() as folder:
        python = environment(arguments.venv or Path(folder, "venv"))
        theirs = zigzag(python, Path(folder), described, arguments.loops)
    for objective, machine in machines.items():
        ours = [bitwright_finds(machine, product) for product in LAYERS.values()]
        show(objective, theirs[objective], ours)


def show(objective: str, theirs: list[tuple[float, float, float]], ours: list[tuple[float, float, float]]) -> None:
    """Energies and cycles of all layers, found for one objective, and ratios of ours to theirs."""
    print(f"least {objective}: m x k x n, uJ of ZigZag, of bitwright, ratio; cycles of ZigZag, of bitwright, ratio")
    energies, cycles = ([our[i] / their[i] for our, their in zip(ours, theirs, strict=True)] for i in (0, 1))
    for row, (name, (m, k, n)) in enumerate(LAYERS.items()):
        their, our = theirs[row], ours[row]
        print(
            f"  {name:26s} {m:5d} x {k:4d} x {n:4d} {their[0] / 1e6:9.2f} {our[0] / 1e6:9.2f} {energies[row]:6.3f}   "
            f"{their[1]:11,.0f} {our[1]:11,.0f} {cycles[row]:6.3f}"
        )
    for what, ratios in (("energy", energies), ("cycles", cycles)):
        mean = statistics.geometric_mean(ratios)
        print(f"  {what}, ours by ZigZag's: geometric mean {mean:.3f}, {min(ratios):.3f} .. {max(ratios):.3f}")
    seconds = [sum(each[2] for each in found) for found in (theirs, ours)]
    print(f"  ZigZag took {seconds[0]:.1f} s, bitwright {seconds[1]:.2f} s")


def prices(machine: Any) -> dict[str, float]:
    """What a machine pays, from the events of a run: pJ of a bit, DRAM's bytes per cycle, and pJ of a product."""
    cost = cost_of(machine, (768, 768, 768))
    paid = {(event.component, event.name): event for event in cost.events if event.count}
    found = {}
    for component in SRAMS:
        for name in ("read", "write"):
            bits = 8 * cost.traffic_bytes[f"{component}_{name}"]
            found[f"{component} {name}"] = paid[component, name].energy_pj / bits
    found["dram"] = paid["dram", "read"].energy_pj / (8 * cost.traffic_bytes["dram_read"])
    found[BANDWIDTH] = machine.dram_bandwidth
    found["mac"] = sum(event.energy_pj for event in cost.events if event.component == "mac") / cost.macs_executed
    return found


def cost_of(machine: Any, product: tuple[int, int, int]) -> Any:
    """The cost of one product on a machine."""
    m, k, n = product
    network = bitwright.load(f"gemm:{m}x{k}x{n}")
    return simulate(network, bitwright.calibrate(network, "int8", options=PER_TENSOR), {MACHINE: machine})[MACHINE].cost


def bitwright_finds(machine: Any, product: tuple[int, int, int]) -> tuple[float, float, float]:
    """Energy in pJ of what ZigZag counts too, cycles, and seconds."""
    start = time.perf_counter()
    cost = cost_of(machine, product)
    seconds = time.perf_counter() - start
    return sum(pj for name, pj in cost.energy_pj.items() if name in COUNTED), cost.cycles, seconds


def description(machine: Any, paid: dict[str, float], *, srams: str) -> dict[str, Any]:
    """The machine in ZigZag's words; memories from the units up to DRAM, a port for each way that data take."""
    operand, psum, dram = 8, machine.psum_bits, int(8 * paid[BANDWIDTH])
    sides = {"input": ("I1", machine.rows * operand), "weight": ("I2", machine.cols * operand)}
    register = {
        "w_port_1": ("write", psum, ["O, fh"]),
        "r_port_1": ("read", psum, ["O, tl"]),
        "w_port_2": ("write", psum, ["O, fl"]),
        "r_port_2": ("read", psum, ["O, th"]),
    }
    memories = {"registers": memory(psum, 0.0, 0.0, register, shared=False)}
    for name, (of, bits) in sides.items():
        memories[f"sram_{name}"] = memory(
            getattr(machine, f"{name}_sram_kib") * BITS_PER_KIB,
            paid[f"sram_{name} read"],
            paid[f"sram_{name} write"],
            {"r_port_1": ("read", bits, [f"{of}, tl"]), "w_port_1": ("write", dram, [f"{of}, fh"])},
        )
    bits = machine.cols * psum
    memories["sram_output"] = memory(
        machine.output_sram_kib * BITS_PER_KIB,
        paid["sram_output read"],
        paid["sram_output write"],
        {"r_port_1": ("read", bits, ["O, tl", "O, th"]), "w_port_1": ("write", bits, ["O, fl", "O, fh"])},
    )
    for name in SRAMS:
        memories[name]["force_double_buffering"] = srams == "doubled"
    every = {"rw_port_1": ("read_write", dram, ["I1, tl", "I2, tl", "O, fl", "O, tl"])}
    memories["dram"] = memory(10**12, paid["dram"], paid["dram"], every)
    return {
        "name": MACHINE,
        "memories": memories,
        "operational_array": {
            "input_precision": [operand, operand],
            "unit_energy": paid["mac"],
            "unit_area": 1.0,
            "dimensions": ["D1", "D2"],
            "sizes": [machine.rows, machine.cols],
            "systolic_dimensions": ["D1", "D2"],
        },
    }


def memory(
    capacity: int, read_pj: float, write_pj: float, ports: dict[str, tuple[str, int, list[str]]], *, shared: bool = True
) -> dict[str, Any]:
    """A memory, priced by the bit; ports are (type, bits per cycle, operands and ways).

    ZigZag asks for the price of an access of a port's full width, and charges for it in steps of the least width, here
    8 bits: all that read, and all that write, must be equally wide.
    """
    reads, writes = ({bits for kind, bits, _ in ports.values() if way in kind} for way in ("read", "write"))
    (read_bits,), (write_bits,) = reads, writes
    return {
        "size": capacity,
        "r_cost": read_pj * read_bits,
        "w_cost": write_pj * write_bits,
        "area": 0.0,
        "latency": 1,
        "operands": sorted({way.split(",")[0] for _, _, ways in ports.values() for way in ways}),
        "ports": [
            {"name": name, "type": kind, "bandwidth_min": 8, "bandwidth_max": bits, "allocation": ways}
            for name, (kind, bits, ways) in ports.items()
        ],
        "served_dimensions": ["D1", "D2"] if shared else [],
    }


def environment(folder: Path) -> Path:
    """The interpreter of an environment with ZigZag, made if it is not there."""
    python = folder.absolute() / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return python


def zigzag(
    python: Path, folder: Path, described: dict[str, Any], loops: int
) -> dict[str, list[tuple[float, float, float]]]:
    """By objective, energy in pJ, cycles and seconds of every layer; its files are YAML, of which JSON is a part."""
    rows, cols = described["operational_array"]["sizes"]
    mapping = {
        "name": "default",
        "spatial_mapping": {"D1": [f"D, {rows}"], "D2": [f"K, {cols}"]},
        "memory_operand_links": {"O": "O", "W": "I2", "I": "I1"},
    }
    (folder / "machine.yaml").write_text(json.dumps(described))
    (folder / "mapping.yaml").write_text(json.dumps([mapping]))
    work = [
        (workload(folder, row, product), name) for name in OBJECTIVES for row, product in enumerate(LAYERS.values())
    ]
    command = [str(python), "-c", INSIDE, json.dumps(work), str(loops)]
    told = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if told.returncode:
        sys.exit(f"ZigZag failed: {told.stderr[-2000:]}")
    found = [tuple(each) for each in json.loads((folder / "found.json").read_text())]
    return {name: found[i * len(LAYERS) : (i + 1) * len(LAYERS)] for i, name in enumerate(OBJECTIVES)}


def workload(folder: Path, row: int, product: tuple[int, int, int]) -> str:
    """The name of a file with one layer; ZigZag calls the axes D, C and K."""
    layer = {
        "id": 0,
        "name": f"layer{row}",
        "operator_type": "Gemm",
        "equation": "O[d][k]+=I[d][c]*W[c][k]",
        "dimension_relations": [],
        "loop_dims": ["D", "C", "K"],
        "loop_sizes": product,
        "operand_precision": {"I": 8, "W": 8, "O": 32, "O_final": 8},
        "operand_source": {"W": 0, "I": 0},
    }
    (folder / f"layer{row}.yaml").write_text(json.dumps([layer]))
    return f"layer{row}.yaml"


if __name__ == "__main__":
    main()
