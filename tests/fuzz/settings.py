"""What people type: conditions, options of methods, settings of machines."""

import random
from pathlib import Path
from typing import Any

from tests.fuzz import mutations

from bitwright.cli import given
from bitwright.methods.protocol import compose
from bitwright.studies.machines import accelerator_names, build_accelerators
from bitwright.studies.sweep import read_study
from bitwright.studies.sweep.conditions import Condition

STUDY: dict[str, Any] = {
    "networks": ["gemm:8x8x8"],
    "methods": ["int8"],
    "accelerators": ["systolic-ws"],
    "parameters": {"rows": [8, 16], "cols": [8, 16]},
}
CONDITIONS = (
    "rows * cols <= 2048", "network == 'a' or rows in (1, 2)", "not (rows + 1 > cols) and accelerator != 'simd'",
    "rows % 2 == 0", "rows // cols < 3", "rows - -cols", "1 < rows <= 8", "rows in [8, cols]", "'a' in network",
)  # fmt: skip
PIECES = (
    "rows", "cols", "network", "'a'", "2", "1.5", "10**9", "True", "None", "(", ")", "[", "]", ",", "+", "-", "*", "/", "//", "%", "**", "<<", "and", "or",
    "not", "in", "not in", "is", "<", "==", "!=", "if", "else", "lambda:", "x for x in", ".__class__", "()", "[0]", "{}", "f'{rows}'", "...", "b'x'", "1j", ":=",
    "9" * 400, "~", "@", "await", "yield", "\\", "\n", "\t", "\0", "#", "__import__('os').system('true')", "é", "0x", "1_0", "(" * 100,
)  # fmt: skip
SETTINGS = (
    "rows=8", "cols=16", "node_nm=28", "clock_mhz=500", "systolic-ws.rows=4", "vector_lanes=4", "dram=lpddr5", "objective=edp", "dataflow=os",
    "cols=[1, 2]", "rows={a: 1}", "dram_bits=64", "activations=spill", "memory_kib=64",
)  # fmt: skip
OPTIONS = (
    "x_bits=7", "w_bits=4", "*fc*:x_bits=8", "w_granularity=group:64", "x_symmetric=true", "budget=0.01", "block=8", "group_size=2", "es=2",
    "wide=search", "x_calibrator=mse", "sites={a: {x_bits: 4}}", "w_calibrator=percentile", "attention=false", "ends=same",
)  # fmt: skip
METHODS = (
    "int8",
    "int",
    "aqs",
    "int8+apsq",
    "lpq",
    "ant",
    "adaptivfloat",
    "drift",
    "int8-sym+drift",
    "drq",
    "mixed",
    "narrow",
    "float",
    "sibia",
)


def conditions(folder: Path):
    """`when:` of a study, read and asked for points."""

    def maker(rng: random.Random, *, plain: bool = False):
        if plain or rng.random() < 0.5:
            text = rng.choice(CONDITIONS)
            text = text if plain else mutations.of_text(rng, text)
        else:
            text = " ".join(rng.choice(PIECES) for _ in range(rng.randrange(1, 12)))
        names = {"rows": rng.choice((8, 0, -1, 2**62, 1e308)), "cols": 3, "network": "net", "accelerator": "simd"}

        def case() -> None:
            for condition in read_study({**STUDY, "when": [text]}).when:
                condition.holds(names)
            Condition(text=rng.choice(CONDITIONS)).holds(names)

        return case

    return maker


def _typed(rng: random.Random, seeds: tuple[str, ...], plain: bool) -> list[str]:
    chosen = [rng.choice(seeds) for _ in range(rng.choice((1, 1, 2, 3)))]
    return (
        chosen
        if plain
        else [mutations.of_text(rng, each) if rng.random() < 0.5 else _other_value(rng, each) for each in chosen]
    )


def _other_value(rng: random.Random, setting: str) -> str:
    key = setting.partition("=")[0]
    return f"{key}={rng.choice((str(rng.choice(mutations.VALUES)), rng.choice(mutations.WORDS)))}"


def options(folder: Path):
    """`--option` of every method."""

    def maker(rng: random.Random, *, plain: bool = False):
        typed, method = ([], "int8") if plain else (_typed(rng, OPTIONS, plain), rng.choice(METHODS))
        method = method if plain or rng.random() < 0.9 else mutations.of_text(rng, method)
        return lambda: compose(method, given.method_options(typed))

    return maker


def machine_settings(folder: Path):
    """`--set` and `--substrate` of every machine."""
    names = accelerator_names()

    def maker(rng: random.Random, *, plain: bool = False):
        typed = [] if plain else _typed(rng, SETTINGS, plain)
        machine = rng.choice(names)
        machine = machine if plain or rng.random() < 0.9 else mutations.of_text(rng, machine)
        substrate = "common" if plain else rng.choice(("common", "native", mutations.of_text(rng, "common")))
        return lambda: build_accelerators([machine], given.machine_settings(typed, None), substrate)

    return maker
