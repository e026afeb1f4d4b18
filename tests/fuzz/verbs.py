"""Command lines of all verbs, of words that belong and words that do not, run in this process."""

import random
from pathlib import Path
from typing import Any

from tests.fuzz import mutations

VERBS: tuple[tuple[str, ...], ...] = (
    ("simulate", "gemm:8x8x8", "--set", "rows=8", "--accelerator", "simd"),
    ("simulate", "gemm:8x8x8", "--method", "w4a8", "--json"),
    ("compare", "gemm:8x8x8", "--methods", "int8,w4a8", "--accelerators", "simd,lpa", "--out", "x.html"),
    ("explain", "gemm:8x8x8", "--site", "gemm", "--accelerator", "simd"),
    ("evaluate", "gemm:8x8x8", "--method", "int8", "--data", "x", "--limit", "3"),
    ("nodes", "gemm:8x8x8"),
    ("models",),
    ("methods", "int8", "--json"),
    ("accelerators", "lpa", "--yaml"),
    ("systems",),
    ("substrate", "--yaml"),
    ("technology", "28"),
    ("schema", "simulate"),
    ("circuits", "--json"),
    ("sweep", "given.yaml", "--store", "x.db", "--workers", "1"),
    ("export", "gemm:8x8x8", "--form", "scalesim", "--out", "there"),
    ("search", "gemm:8x8x8", "--save-plan", "p", "--log", "l"),
    ("train", "gemm:8x8x8", "--save-plan", "p", "--steps", "1"),
)


def commands(folder: Path):
    """Every verb with one to three words of its own or of others changed."""
    from typer.testing import CliRunner

    from bitwright.cli.verbs import app

    runner = CliRunner()
    flags = sorted({word for verb in VERBS for word in verb if word.startswith("--")})

    def maker(rng: random.Random, *, plain: bool = False):
        words: list[str] = list(rng.choice(VERBS))
        for _ in range(0 if plain else rng.choice((1, 1, 2, 3))):
            at = rng.randrange(1, len(words) + 1)
            match rng.randrange(4):
                case 0:
                    words[at:at] = [rng.choice(flags)]
                case 1:
                    words[at:at] = [rng.choice(mutations.WORDS)]
                case 2 if at < len(words):
                    words[at] = mutations.of_text(rng, words[at])
                case _ if at < len(words):
                    del words[at]
                case _:
                    pass
        harmless = [_harmless(word) for word in words]

        def case() -> None:
            result: Any = runner.invoke(app, harmless)
            if result.exit_code not in (0, 2) or "Traceback" in result.output:
                raise result.exception or AssertionError(f"exit {result.exit_code}: {result.output[-300:]}")

        return case

    return maker


def _harmless(word: str) -> str:
    """The word, but no name of code, and no place outside of the folder: a command does write where it is told to."""
    if word.startswith("gemm:"):
        return word
    return word.replace(":", "_").replace("/", "_")
