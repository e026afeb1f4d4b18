"""What people write in files: studies, machines, architectures, price lists, shapes, labels, texts."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from tests.fuzz import mutations
from tests.test_machine_import import FIRST, SUBTREES, TIMELOOP, ZIGZAG
from tests.test_shape_files import CONV, PROBLEM, TOPOLOGY, VERSION_3

from bitwright import technology
from bitwright.files import read_text
from bitwright.networks.load import load
from bitwright.studies.machines import build_accelerators
from bitwright.studies.setting_files import find_substrate, read_machine
from bitwright.studies.sweep import read_study
from bitwright.tasks.sts import sts

Reader = Callable[[str], object]

STUDY = """\
networks:
  - gemm:64x48x32
  - {model: bert-base, sequence_length: 64, label: bert}
methods: [int8, {method: int, set: {w_bits: 4}, label: w4}]
accelerators:
  - systolic-ws
  - {accelerator: simd, set: {dram: lpddr5}}
parameters:
  rows: {from: 8, to: 32, step: 8}
  cols: [8, 16]
when: ["rows * 2 <= 64", "accelerator != 'simd' or rows in (8, 16)"]
objectives: {cycles: minimise, total_energy_pj: minimise}
seed: 0
"""
MACHINE = "accelerator: lpa\nname: mine\nparameters: {rows: 8, cols: 8, node_nm: 28}\n"
SUBSTRATE = "substrate: common\nname: ours\nparameters: {node_nm: 45, clock_mhz: 500}\n"
PRICES = """\
extends: 28
prices:
  mac_int8: {energy_pj: 0.1, area_um2: 120.5, unit: operation, source: me, kind: assumed}
"""
WORKLOAD = """\
name: mine
layers:
  - {name: a, op: gemm, m: 16, k: 32, n: 8}
  - {name: b, op: conv2d, channels: 3, filters: 8, kernel: 3, stride: 2, height: 16, width: 16}
"""
GEMMS = "Layer, M, N, K,\nqkv, 128, 2304, 768,\nff, 128, 3072, 768, 2:4\n"
LABELS = "".join(f"g\tf\ty\t{i}\t{i % 5}.{i}\tone sentence\tanother one\n" for i in range(6))


def _yaml(rng: random.Random, text: str, others: Sequence[str]) -> bytes:
    """YAML with values, words or bytes changed."""
    way = rng.random()
    if way < 0.4:
        try:
            trees = [*yaml.safe_load_all(text)]
            tree = mutations.of_tree(rng, trees[0], ["gemm:4x4x4", "lpa", "bert-base", {"from": 1, "to": 10**9}])
            return yaml.safe_dump(tree, sort_keys=False, allow_unicode=rng.random() < 0.5).encode(
                "utf-8", "surrogatepass"
            )
        except (yaml.YAMLError, RecursionError, UnicodeError):
            pass
    if way < 0.8:
        return mutations.of_text(rng, text).encode("utf-8", "surrogatepass")
    return mutations.of_bytes(rng, text.encode(), [each.encode() for each in others])


def _files(name: str, seeds: Sequence[str], read: Reader) -> Callable[[Path], Any]:
    """A kind of files of YAML or other texts, which all readers take by the same name."""

    def made(folder: Path):
        def maker(rng: random.Random, *, plain: bool = False):
            seed = rng.choice(seeds)
            content = seed.encode() if plain else _yaml(rng, seed, seeds)

            def case() -> None:
                (folder / name).write_bytes(content)
                read(name)

            return case

        return maker

    return made


def _machine(name: str) -> None:
    read_machine(name)
    build_accelerators([name], {})


def _simulated(name: str) -> None:
    """Load, and cost one in a few: of what is read each layer is costed."""
    network = load(name)
    assert network.sites is not None
    if len(network.sites) % 4 == 1:
        from bitwright.api import simulate

        simulate(network, "int8", "systolic-ws")


def _study(name: str) -> None:
    """Read, and count its points where they are few enough to be written down."""
    import itertools

    from bitwright.studies.sweep.points import grid

    study = read_study(name)
    for _ in itertools.islice(grid(study), 50):
        pass


studies = _files("given.yaml", [STUDY], _study)
machines = _files(
    "given.yaml",
    [
        MACHINE,
        "accelerator: systolic-ws\nparameters:\n  rows: 16\n",
        "accelerator: panacea\nparameters: {tile_rows: 8, node_nm: 28}\n",
    ],
    _machine,
)
architectures = _files("given.yaml", [ZIGZAG, TIMELOOP, SUBTREES, FIRST], read_machine)
workloads = _files("given.yaml", [WORKLOAD, CONV, PROBLEM, VERSION_3], _simulated)
tables = _files("given.csv", [TOPOLOGY, GEMMS, "a,1,2,3\n"], _simulated)
labels = _files("given.tsv", [LABELS], lambda name: sts(data=Path(name)))


def prices(folder: Path):
    """Price lists and substrates."""
    lists, substrates = (
        _files("given.yaml", [PRICES], technology.load)(folder),
        _files("given.yaml", [SUBSTRATE], find_substrate)(folder),
    )

    def maker(rng: random.Random, *, plain: bool = False):
        return (lists if rng.random() < 0.7 else substrates)(rng, plain=plain)

    return maker


plain_texts = _files(
    "given.txt", ["The quick brown fox.\nÄ second line\n" * 4, "a"], lambda name: read_text(Path(name), what="text")
)
