"""Compute cycles of systolic arrays against SCALE-Sim 3.0.0, which walks them cycle by cycle.

    python benchmarks/against_scalesim.py [--venv FOLDER]

SCALE-Sim is installed into an environment of its own, FOLDER, which is made where it is not (without: a temporary one),
by pip from the package index; it runs 16 products on two arrays, weight-stationary and output-stationary, in its mode
of ideal bandwidth. Beside its cycles are those of `systolic-ws` and `systolic-os` with folds one after the other and
weights that no computation hides, in SRAMs that hold every product whole. SCALE-Sim tells the number of the last cycle,
counted from 0, so that it has one less in all: differences of -1 are its convention, all others are ours to explain and
make the exit code 1. Prints every product's cycles, then how many are equal, and the seconds both took. About a minute.
"""

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import bitwright

PACKAGES = ("scalesim==3.0.0", "numpy<2")
ARRAYS = ((24, 32), (16, 16))
DATAFLOWS = ("ws", "os")
CONVENTION = -1
"""SCALE-Sim's cycles less ours where both mean the same."""
PRODUCTS = {  # m, k, n
    "one multiplication": (1, 1, 1),
    "16 x 16 x 16": (16, 16, 16),
    "one fold of 24 x 32": (24, 24, 32),
    "one less": (23, 23, 31),
    "one more": (25, 25, 33),
    "MobileNet depthwise, a channel": (784, 9, 1),
    "vector by matrix": (1, 768, 96),
    "BERT scores, a head": (128, 64, 128),
    "BERT context, a head": (128, 128, 64),
    "ViT scores, a head": (197, 64, 197),
    "ViT context, a head": (197, 197, 64),
    "ResNet conv2 1 x 1": (784, 64, 64),
    "MobileNet projection": (196, 384, 64),
    "MobileNet expansion": (49, 160, 320),
    "long reduction": (7, 1500, 90),
    "odd extents": (133, 257, 65),
}
CONFIGURATION = """
[general]
run_name = run
[architecture_presets]
ArrayHeight: {rows}
ArrayWidth: {cols}
IfmapSramSzkB: 4096
FilterSramSzkB: 4096
OfmapSramSzkB: 4096
IfmapOffset: 0
FilterOffset: 10000000
OfmapOffset: 20000000
Bandwidth: 10
Dataflow: {dataflow}
MemoryBanks: 1
ReadRequestBuffer: 512
WriteRequestBuffer: 512
[layout]
IfmapCustomLayout: False
FilterCustomLayout: False
IfmapSRAMBankBandwidth: 10
IfmapSRAMBankNum: 10
IfmapSRAMBankPort: 2
FilterSRAMBankBandwidth: 10
FilterSRAMBankNum: 10
FilterSRAMBankPort: 2
[sparsity]
SparsitySupport: False
[run_presets]
InterfaceBandwidth: CALC
UseRamulatorTrace: False
"""


def main() -> None:
    """Print the cycles of every product on every array; exit with 1 if any differs by more than the convention."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=Path, help="where SCALE-Sim is, or shall be installed")
    arguments = parser.parse_args()
    differences: list[int] = []
    theirs_seconds = ours_seconds = 0.0
    with tempfile.TemporaryDirectory() as folder:
        python = environment(arguments.venv or Path(folder, "venv"))
        for rows, cols in ARRAYS:
            for dataflow in DATAFLOWS:
                start = time.perf_counter()
                theirs = scalesim_cycles(python, Path(folder, f"{rows}x{cols}-{dataflow}"), rows, cols, dataflow)
                between = time.perf_counter()
                ours = [bitwright_cycles(product, rows, cols, dataflow) for product in PRODUCTS.values()]
                theirs_seconds += between - start
                ours_seconds += time.perf_counter() - between
                print(f"{rows} x {cols}, {dataflow}: m x k x n, cycles of SCALE-Sim, of bitwright, the difference")
                for (name, (m, k, n)), their, our in zip(PRODUCTS.items(), theirs, ours, strict=True):
                    print(f"  {name:32s} {m:4d} x {k:4d} x {n:4d} {their:8,d} {our:8,d} {their - our:+d}", flush=True)
                    differences.append(their - our)
    equal = differences.count(CONVENTION)
    print(f"{equal} of {len(differences)} equal, but for the one cycle that SCALE-Sim does not count")
    print(f"SCALE-Sim took {theirs_seconds:.1f} s, bitwright {ours_seconds:.1f} s")
    sys.exit(equal < len(differences))


def environment(folder: Path) -> Path:
    """The interpreter of an environment with SCALE-Sim, made if it is not there."""
    python = folder.absolute() / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return python


def scalesim_cycles(python: Path, folder: Path, rows: int, cols: int, dataflow: str) -> list[int]:
    """Cycles of all products on one array; its topology files name m, n and k, its layouts are not used."""
    folder.mkdir()
    lines = "".join(f"layer{index},{m},{n},{k},\n" for index, (m, k, n) in enumerate(PRODUCTS.values()))
    (folder / "topology.csv").write_text("Layer,M,N,K,\n" + lines)
    (folder / "layout.csv").write_text("Layer,\n" + "".join(f"layer{index},\n" for index in range(len(PRODUCTS))))
    (folder / "array.cfg").write_text(CONFIGURATION.format(rows=rows, cols=cols, dataflow=dataflow))
    files = {"-c": "array.cfg", "-t": "topology.csv", "-l": "layout.csv", "-p": "results"}
    command = [str(python), "-m", "scalesim.scale", *(word for pair in files.items() for word in pair)]
    told = subprocess.run([*command, "-i", "gemm", "-s", "N"], cwd=folder, capture_output=True, text=True, check=False)
    report = folder / "results" / "run" / "COMPUTE_REPORT.csv"
    if told.returncode or not report.exists():
        sys.exit(f"SCALE-Sim failed: {told.stderr[-2000:]}")
    with report.open(newline="") as file:
        found = [{key.strip(): value for key, value in row.items()} for row in csv.DictReader(file)]
    assert all(int(row["Stall Cycles"]) == 0 for row in found)
    return [int(row["Total Cycles"]) for row in found]


def bitwright_cycles(product: tuple[int, int, int], rows: int, cols: int, dataflow: str) -> int:
    """Compute cycles of one product that is one tile: large SRAMs, and bandwidth that makes no tile worth splitting."""
    m, k, n = product
    parameters = {
        "rows": rows,
        "cols": cols,
        "objective": "latency",
        "dram_bytes_per_cycle": 2.0**20,
        "input_sram_kib": 4096,
        "weight_sram_kib": 4096,
        "output_sram_kib": 4096,
        "weight_loading": "exposed",
        "fold_pipelining": False,
    }
    name = f"systolic-{dataflow}"
    return bitwright.simulate(f"gemm:{m}x{k}x{n}", "int8", name, parameters=parameters).cost.compute_cycles


if __name__ == "__main__":
    main()
