"""Architectures in the words of ZigZag and Timeloop become files of machines; what maps is worked out beside them."""

import random

import pytest
import yaml
from typer.testing import CliRunner

import bitwright
from bitwright import strict_yaml
from bitwright.cli.verbs import app
from bitwright.errors import InputError
from bitwright.exchange.machines import form_of, imported
from bitwright.reports.setting_files import machine_yaml
from bitwright.studies.catalogue import accelerator
from bitwright.studies.setting_files import find_machine, read_machine

ZIGZAG = """\
name: small
memories:
  reg_w:
    size: 8
    r_cost: 0.01
    w_cost: 0.01
    area: 0
    latency: 1
    operands: [I2]
    ports:
      - {name: r_port_1, type: read, bandwidth_min: 8, bandwidth_max: 8, allocation: ["I2, tl"]}
      - {name: w_port_1, type: write, bandwidth_min: 8, bandwidth_max: 8, allocation: ["I2, fh"]}
    served_dimensions: []
  sram_io:
    size: 1048576
    r_cost: 20.0
    w_cost: 22.0
    area: 3.0
    latency: 2
    operands: [I1, O]
    ports:
      - {name: rw_port_1, type: read_write, bandwidth_min: 64, bandwidth_max: 512, allocation: ["I1, tl", "O, tl"]}
    served_dimensions: [D1, D2]
  sram_w:
    size: 262144
    operands: [I2]
    latency: 1
    ports:
      - {name: rw_port_1, type: read_write, bandwidth_min: 64, bandwidth_max: 128, allocation: ["I2, tl"]}
    served_dimensions: [D1, D2]
  dram:
    size: 10000000000
    r_cost: 320.0
    w_cost: 384.0
    latency: 1
    operands: [I1, I2, O]
    ports:
      - {name: rw_port_1, type: read_write, bandwidth_min: 8, bandwidth_max: 64, allocation: ["I1, tl", "O, tl"]}
    served_dimensions: [D1, D2]
operational_array:
  input_precision: [8, 8]
  unit_energy: 0.04
  unit_area: 1
  dimensions: [D1, D2]
  sizes: [16, 8]
dataflows:
  D1: ["K, 16"]
  D2: ["C, 8"]
"""
TIMELOOP = """\
architecture:
  version: 0.4
  nodes:
  - !Container
    name: system
    attributes: {technology: "45nm", global_cycle_seconds: 2e-9}
  - !Component
    name: DRAM
    class: DRAM
    attributes: {type: "LPDDR4", width: 64, datawidth: 8, shared_bandwidth: 12}
  - !Component
    name: buffer
    class: smartbuffer_SRAM
    attributes: {depth: 16384, width: 64, n_banks: 4, datawidth: 8, read_bandwidth: 16}
    constraints:
      dataspace: {keep: [Inputs, Outputs], bypass: [Weights]}
  - !Container
    name: column
    spatial: {meshX: 8}
  - !Container
    name: PE
    spatial: {meshY: 4}
  - !Parallel
    nodes:
    - !Component
      name: weights_spad
      class: smartbuffer_RF
      attributes: {depth: 64, width: 8, datawidth: 8}
      constraints: {dataspace: {keep: [Weights]}}
    - !Component
      name: psum_spad
      class: smartbuffer_RF
      attributes: {depth: 16, width: 16, datawidth: 16}
      constraints: {dataspace: {keep: [Outputs]}}
  - !Component
    name: noc
    class: XY_NoC
  - !Component
    name: mac
    class: intmac
    attributes: {multiplier_width: 8, adder_width: 24}
"""
SUBTREES = """\
architecture:
  version: 0.3
  subtree:
  - name: system
    attributes: {technology: 45nm}
    local:
    - {name: DRAM, class: DRAM, attributes: {width: 64}}
    subtree:
    - name: chip
      local:
      - name: weights_glb
        class: smartbuffer_SRAM
        attributes: {memory_depth: bank_depth * n_banks, bank_depth: 512, n_banks: 4, memory_width: 64}
      - name: shared_glb
        class: SRAM
        attributes: {memory_depth: 4096, memory_width: 64}
      subtree:
      - name: PE[0..31]
        attributes: {meshX: 8}
        local:
        - {name: psum_spad, class: smartbuffer_RF, attributes: {memory_depth: 16, memory_width: 16}}
        - {name: "mac[0..1]", class: fpmac, attributes: {datawidth: 16}}
"""
FIRST = """\
arch:
  arithmetic: {name: MACs, instances: 64, meshX: 16, word-bits: 16}
  storage:
  - {name: registers, instances: 64, meshX: 16, entries: 8, word-bits: 16}
  - {name: buffer, instances: 1, sizeKB: 96, word-bits: 16}
  - {name: memory, instances: 1, technology: DRAM, word-bits: 16}
"""


def read(text, file="arch.yaml"):
    return imported(strict_yaml.parse(text, file=file, above=(), twice=True))


def test_an_accelerator_of_zigzag():
    found = read(ZIGZAG)
    # D1 unrolls K, so that 16 are columns; sram_io has 128 KiB for two; 64 bits a cycle; (320 + 384) / 2 pJ for 64 bits
    assert (found.form, found.base) == ("ZigZag", "systolic-ws")
    assert found.values == {
        "rows": 8,
        "cols": 16,
        "mac": "int8",
        "input_sram_kib": 64,
        "weight_sram_kib": 32,
        "output_sram_kib": 64,
        "dram_bytes_per_cycle": 8.0,
        "dram_pj_per_bit": 5.5,
    }
    notes = " | ".join(found.notes)
    for said in (
        "unit_energy",
        "widths of ports",
        "costs of an access",
        "areas",
        "latencies",
        "clock_mhz, node_nm",
        "mean",
    ):
        assert said in notes
    assert "latencies above one cycle: none is modelled (sram_io)" in notes


@pytest.mark.parametrize(
    ("old", "new", "values", "base"),
    [
        ("[I2]\n    ports:\n      - {name: r_", "[O]\n    ports:\n      - {name: r_", {"psum_bits": 8}, "systolic-os"),
        ("dataflows:\n  D1: [\"K, 16\"]\n  D2: [\"C, 8\"]\n", "", {"rows": 16, "cols": 8}, "systolic-ws"),
        ("input_precision: [8, 8]", "input_precision: [4, 12]", {"mac": "int16"}, "systolic-ws"),
        ("  dram:\n", "  top:\n", {"dram_bytes_per_cycle": 8.0}, "systolic-ws"),
        ("name: small", "name: small\nname: again", {"rows": 8}, "systolic-ws"),
    ],
)  # fmt: skip
def test_variants_of_zigzag(old, new, values, base):
    assert ZIGZAG.count(old) == 1
    found = read(ZIGZAG.replace(old, new))
    assert found.base == base
    assert {key: found.values[key] for key in values} == values


@pytest.mark.parametrize(
    ("sizes", "rows", "cols"),
    [([64], 8, 8), ([12], 3, 4), ([32, 2, 4, 4], 32, 32), ([8, 8, 4, 4], 64, 16), ([7], 1, 7)],
)
def test_axes_become_rows_and_columns(sizes, rows, cols):
    axes = [f"D{i + 1}" for i in range(len(sizes))]
    text = ZIGZAG.split("dataflows", maxsplit=1)[0].replace(
        "dimensions: [D1, D2]\n  sizes: [16, 8]", f"dimensions: {axes}\n  sizes: {sizes}"
    )
    found = read(text.replace("[D1, D2]", str(axes)))
    assert (found.values["rows"], found.values["cols"]) == (rows, cols)
    assert any(f"{' x '.join(map(str, sizes))} multipliers stand here as" in note for note in found.notes)


def test_an_architecture_of_timeloop():
    found = read(TIMELOOP)
    # weights: 64 x 8 bits in each of 32 places, 16 Kibit; 2e-9 s are 500 MHz; 12 words of 8 bits
    assert (found.form, found.base) == ("Timeloop", "systolic-ws")
    assert found.values == {
        "rows": 4,
        "cols": 8,
        "mac": "int8",
        "psum_bits": 24,
        "input_sram_kib": 64,
        "weight_sram_kib": 2,
        "output_sram_kib": 64,
        "dram": "lpddr4",
        "dram_bytes_per_cycle": 12.0,
        "clock_mhz": 500.0,
        "node_nm": 45,
    }
    notes = " | ".join(found.notes)
    assert "components that no machine here has: noc" in notes
    assert "constraints on mappings: the mapping is searched freely (buffer, weights_spad, psum_spad)" in notes
    assert "banks: those of the substrate (buffer)" in notes


def test_an_architecture_of_subtrees():
    found = read(SUBTREES)
    # 32 places of two multipliers, 8 x 2 along X; 4 x 512 x 64 bits; 4096 x 64 bits, in two parts
    assert (found.base, found.values["rows"], found.values["cols"]) == ("systolic-os", 4, 16)
    assert [value for key, value in found.values.items() if "kib" in key] == [16, 16, 16]
    assert (found.values["mac"], found.values["node_nm"]) == ("float16", 45)


def test_the_first_form_of_timeloop():
    found = read(FIRST)
    assert {key: found.values[key] for key in ("rows", "cols", "mac", "input_sram_kib")} == {
        "rows": 4, "cols": 16, "mac": "int16", "input_sram_kib": 32,
    }  # fmt: skip


@pytest.mark.parametrize("text", [ZIGZAG, TIMELOOP, SUBTREES, FIRST], ids=["zigzag", "timeloop", "subtrees", "first"])
def test_what_is_printed_is_a_file_of_a_machine(tmp_path, text):
    path = tmp_path / "arch.yaml"
    path.write_text(text)
    printed = CliRunner().invoke(app, ["accelerators", str(path), "--yaml"])
    assert printed.exit_code == 0, printed.output
    (tmp_path / "mine.yaml").write_text(printed.stdout)
    stated = find_machine(str(tmp_path / "mine.yaml"))
    given = read(text)
    assert (stated.base, stated.name) == (given.base, "mine")
    assert {key: stated.values[key] for key in given.values} == given.values
    assert "# - made of 'arch.yaml', an architecture of " in printed.stdout
    cost = bitwright.simulate("gemm:8x16x8", "int8", str(tmp_path / "mine.yaml")).cost
    assert cost.macs_dense == 8 * 16 * 8


def test_an_architecture_is_no_machine_by_itself(tmp_path):
    path = tmp_path / "arch.yaml"
    path.write_text(TIMELOOP)
    with pytest.raises(InputError, match=r"is an architecture of Timeloop; make a machine's file of it first"):
        bitwright.simulate("gemm:8x8x8", "int8", str(path))
    assert any("components that no machine here has" in note for note in accelerator(str(path)).notes)


def test_templates_are_not_run(tmp_path):
    path = tmp_path / "arch.yaml"
    path.write_text("{{add_to_path('x')}}\n" + TIMELOOP)
    with pytest.raises(
        InputError, match=r"arch.yaml, line 1: a template of Timeloop's front end, which is not run here"
    ):
        read_machine(str(path))


def test_names_of_strangers_stay_in_comments(tmp_path):
    path = tmp_path / "arch.yaml"
    path.write_text(ZIGZAG.replace("  sram_io:", '  "x\\naccelerator: lpa\\nrows: 9":'))
    printed = machine_yaml(accelerator(str(path)), read_machine(str(path)).base)
    assert yaml.safe_load(printed)["accelerator"] == "systolic-ws"
    assert yaml.safe_load(printed)["parameters"]["rows"] == 8


@pytest.mark.parametrize(
    ("text", "old", "new", "said"),
    [
        (ZIGZAG, "sizes: [16, 8]", "sizes: [16]", "arch.yaml, line 45: 1 sizes for 2 dimensions"),
        (ZIGZAG, "sizes: [16, 8]", "sizes: [16, 0]", "line 45: sizes is a list of 2; a list of whole"),
        (ZIGZAG, "  dimensions: [D1, D2]\n", "", "line 40: key 'dimensions' is missing"),
        (ZIGZAG, "    size: 262144\n", "", "line 24: key 'size' is missing; a whole number of at least 1"),
        (ZIGZAG, "operands: [I1, O]", "operands: [I1, X]", "line 20: operands is a list of 2; a list of I1, I2, O"),
        (ZIGZAG, "unit_area: 1", "is_imc: true", "the array computes in memory"),
        (ZIGZAG, "size: 1048576", "size: 99999999999999999", "sram_io has 99,999,999,999,999,999 bits"),
        (TIMELOOP, "class: intmac", "class: adder", "line 1: no component is a multiplier"),
        (TIMELOOP, "meshX: 8", "meshX: many", "meshX is 'many'; a whole number"),
        (TIMELOOP, "depth: 16384", "depth: a * b", "depth is 'a * b'; a whole number, or a product"),
        (SUBTREES, "PE[0..31]", "PE[9..1]", "name is 'PE[9..1]'; a name with instances"),
        (SUBTREES, "bank_depth: 512", "bank_depth: bank_depth", "bank_depth is 'bank_depth'; a whole number"),
        (FIRST, "MACs, instances: 64", "MACs, instances: -1", "instances is -1; a whole number"),
    ],
)  # fmt: skip
def test_refusals_name_the_line(text, old, new, said):
    assert text.count(old) == 1
    with pytest.raises(InputError) as error:
        read(text.replace(old, new))
    assert said in str(error.value)


def test_what_is_no_architecture():
    assert form_of(strict_yaml.parse("accelerator: lpa\n", file="x")) is None
    with pytest.raises(InputError, match="x is no architecture"):
        read("accelerator: lpa\n", "x")


WORDS = [
    "!X",
    "*a",
    "&a ",
    "[",
    "]",
    "{",
    "}",
    ":",
    "-",
    "0",
    "-1",
    "1e400",
    "null",
    "9" * 25,
    "\n",
    "  ",
    "true",
    "!!python/name:os.getcwd ",
]


@pytest.mark.parametrize("text", [ZIGZAG, TIMELOOP, SUBTREES, FIRST], ids=["zigzag", "timeloop", "subtrees", "first"])
def test_mutated_architectures_are_refused_in_one_sentence(tmp_path, text):
    chance = random.Random(18)  # noqa: S311
    path, refused = tmp_path / "arch.yaml", []
    for _ in range(120):
        changed = text
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(changed) + 1)
            end = at + chance.choice([0, 1, 5, 30])
            changed = changed[:at] + chance.choice([*WORDS, ""]) + changed[end:]
        path.write_text(changed)
        try:
            found = read_machine(str(path))
        except InputError as error:
            refused.append(str(error))
        else:
            assert found.base.startswith("systolic")
    assert len(refused) > 20
    assert all("\n" not in each and len(each) < 1000 for each in refused)
