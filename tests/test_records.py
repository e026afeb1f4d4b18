"""What programs read: every verb's JSON against its published schema, and the schema against what is known by hand."""

import copy
import dataclasses
import enum
import json
import math
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import numpy as np
import pydantic
import pytest
import typer
from typer.testing import CliRunner

from bitwright.cli.main import app
from bitwright.reports.files import plain, to_json
from bitwright.reports.schema import DIALECT, Columns, attributes, schema_of
from bitwright.reports.verbs import VERBS, verb_schema
from bitwright.shown import frame_of
from bitwright.studies.catalogue import systems

jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed here")

RUNNER = CliRunner()
NETWORKS = """
    import torch

    def layers():
        torch.manual_seed(0)
        module = torch.nn.Sequential(torch.nn.Linear(16, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4))
        module.example_inputs = torch.randn(4, 16)
        return module
"""
STUDY = """
    networks: [gemm:64x64x64]
    methods: [int8, lp8]
    accelerators: [systolic-ws]
    parameters: {rows: [16, 32]}
    objectives: {cycles: minimise}
"""
TOY, GEMM, SMALL = "toy_nets:layers", "gemm:16x32x8", ("--limit", "8")
BRIEF = [part for key in ("population=2", "passes=1", "cycles=1", "random_parents=1") for part in ("--set", key)]
COMMANDS = [
    ("models",),
    ("methods",),
    ("methods", "drift"),
    ("accelerators",),
    ("accelerators", "lpa", "--substrate", "native"),
    ("systems",),
    ("substrate",),
    ("technology", "45"),
    ("nodes", TOY),
    ("nodes", GEMM),
    ("simulate", GEMM),
    ("simulate", TOY, "-a", "systolic-ws,panacea,drift", "-m", "int8", "--calibration", "4"),
    ("simulate", GEMM, "-a", "systolic-ws,lpa", "--substrate", "native"),
    ("simulate", GEMM, "-m", "float"),
    ("evaluate", TOY, *SMALL),
    ("evaluate", TOY, "-m", "float", *SMALL),
    ("evaluate", TOY, "-m", "drift", *SMALL),
    ("evaluate", TOY, "-m", "int8+apsq", *SMALL),
    ("explain", GEMM),
    ("explain", TOY, "--site", "0", "-a", "drift", "-m", "drift", "--calibration", "4"),
    ("compare", GEMM, "-m", "int8,lp8", "-a", "systolic-ws,lpa"),
    ("compare", f"{TOY},{GEMM}", "-m", "int8,float", *SMALL),
    ("compare", TOY, "--budget", "5%", "-m", "sibia", "-a", "sibia,simd", *SMALL),
    ("compare", TOY, "--budget", "20dB", "-m", "lp", "-a", "lpa,simd", *SMALL),
    ("search", TOY, "--save-plan", "p", "--objective", "mse", "--workers", "1", "--calibration", "2", *BRIEF),
    ("train", TOY, "--save-plan", "p", "--steps", "2", "--every", "1", "--option", "smoothing=none"),
    ("sweep", "study.yaml", "--workers", "1"),
    ("reproduce", "panacea", "--models", GEMM, "--distribution", "outliers"),
    ("reproduce", "apsq", "--models", GEMM),
    ("reproduce", "lp", "--models", GEMM),
    ("export", GEMM, "--format", "scalesim-gemm", "--out", "net.csv"),
    ("export", TOY, "--format", "safetensors", "--out", "net.safetensors"),
]
REFUSED = {"float": 2}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "toy_nets.py").write_text(textwrap.dedent(NETWORKS))
    (tmp_path / "study.yaml").write_text(textwrap.dedent(STUDY))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("toy_nets", None)


def strict(text):
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))


def validator(verb):
    return jsonschema.Draft202012Validator(verb_schema(verb))


OF_CIRCUITS = {"circuits", "rtl", "synthesize"}
"""Held against their schemas where they are run, in tests/circuits/test_verbs.py."""


class TestEveryVerb:
    @pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:4]))
    def test_its_record_is_as_its_schema_says(self, command):
        result = RUNNER.invoke(app, [*command, "--json"])
        assert result.exit_code in (0, 2), result.output
        assert result.stdout, result.stderr
        record = strict(result.stdout)
        assert list(record)[:2] == ["schema_version", "$schema"]
        assert record["$schema"] == verb_schema(command[0])["$id"]
        validator(command[0]).validate(record)

    def test_all_are_in_the_list(self):
        group = typer.main.get_command(app)
        having = {name for name, verb in group.commands.items() if any("--json" in each.opts for each in verb.params)}
        assert having == set(VERBS) == {command[0] for command in COMMANDS} | OF_CIRCUITS

    def test_those_with_tables_have_one_flag_for_them(self):
        """Whose help names them all, the first one first; `export` has `--out` for what it exports."""
        group = typer.main.get_command(app)
        for name, output in VERBS.items():
            options = {option: each for each in group.commands[name].params for option in each.opts}
            if not output.results:
                assert name in ("export", "rtl")
                continue
            said = options["--out"].help
            assert "--overwrite" in options
            if name != "reproduce":  # has many, which `bitwright schema` lists
                words = said.partition(": ")[2].translate(str.maketrans("(),;", "    ")).split()
                for result in output.results.values():
                    assert set(result.TABLES) <= set(words), name
                assert words[0] == next(iter(output.results[""].TABLES))

    def test_what_is_missing_is_named(self):
        result = RUNNER.invoke(app, ["schema", "simulte"])
        assert result.exit_code == 2
        assert "unknown verb with --json 'simulte'. Did you mean 'simulate'?" in result.stderr


class TestSchemas:
    @pytest.mark.parametrize("verb", VERBS)
    def test_they_are_schemas_and_say_what_everything_is(self, verb):
        printed = RUNNER.invoke(app, ["schema", verb])
        assert printed.exit_code == 0, printed.output
        schema = json.loads(printed.stdout)
        assert schema == verb_schema(verb)
        assert schema["$schema"] == DIALECT
        jsonschema.Draft202012Validator.check_schema(schema)
        for owner, key, found in properties(schema):
            assert found.get("description"), f"{owner}: {key}"
            types = found.get("type", [])
            assert "number" not in types or "null" in types, f"{owner}: {key} may be NaN"

    @pytest.mark.parametrize("verb", ["simulate", "compare", "nodes", "technology"])
    def test_they_refuse_what_is_not_so(self, verb):
        """Each key of a record that goes, comes or changes its type, at any depth but in free mappings."""
        command = next(command for command in COMMANDS if command[0] == verb)
        record, holds = json.loads(RUNNER.invoke(app, [*command, "--json"]).stdout), validator(verb)
        assert holds.is_valid(record)
        schema = verb_schema(verb)
        assert not holds.is_valid({**record, "more": 1})
        for key in schema.get("required", schema.get("anyOf", [{}])[0].get("required")):
            assert not holds.is_valid({name: value for name, value in record.items() if name != key}), key
            assert not holds.is_valid({**record, key: [[None]]}), key

    def test_a_site_is_held_to_its_own(self):
        record, holds = json.loads(RUNNER.invoke(app, ["simulate", GEMM, "--json"]).stdout), validator("simulate")
        for change in ({"m": "16"}, {"more": 1}, {"cycles": 1.5}):
            wrong = copy.deepcopy(record)
            wrong["sites"][0] |= change
            assert not holds.is_valid(wrong), change
        del record["sites"][0]["k"]
        assert not holds.is_valid(record)

    def test_by_hand(self):
        """Every kind of type that a record may have, and what is written of a value of it."""

        class Colour(enum.StrEnum):
            RED = "red"

        @dataclasses.dataclass
        class Ends:
            """Both.

            Attributes
            ----------
            low, high : float
                In pJ; the
                same unit.
            """

            low: float
            high: float

        class Options(pydantic.BaseModel):
            """What is set."""

            bits: int = pydantic.Field(8, description="of a code")

        class Base(TypedDict):
            name: Annotated[str, "its"]

        class Toy(Base):
            """A toy.

            And more.
            """

            ends: Annotated[Ends | None, "of it"]
            colours: NotRequired[Annotated[Sequence[Colour], "of it"]]
            pair: tuple[int, bool]
            kind: Literal["a", "b"]
            options: Options
            files: Mapping[str, Path]
            anything: Any
            line: Annotated[Mapping[str, Any], Columns(always=(Base,), patterns={"_pj$": float})]

        number = {"type": ["number", "null"]}
        said = {"description": "In pJ; the same unit."}
        assert schema_of("toy", [Toy]) == {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": "urn:bitwright:toy:1",
            "title": "bitwright toy --json",
            "type": "object",
            "description": "A toy.",
            "properties": {
                "schema_version": {"const": 1, "description": "of the shape of all records"},
                "$schema": {"const": "urn:bitwright:toy:1", "description": "which record this is"},
                "name": {"type": "string", "description": "its"},
                "ends": {"anyOf": [{"$ref": "#/$defs/Ends"}, {"type": "null"}], "description": "of it"},
                "colours": {"type": "array", "items": {"enum": ["red"]}, "description": "of it"},
                "pair": {
                    "type": "array",
                    "prefixItems": [{"type": "integer"}, {"type": "boolean"}],
                    "items": False,
                    "minItems": 2,
                },
                "kind": {"enum": ["a", "b"]},
                "options": {"$ref": "#/$defs/Options"},
                "files": {"type": "object", "additionalProperties": {"type": "string"}},
                "anything": {},
                "line": {
                    "type": "object",
                    "properties": {"name": {"type": "string", "description": "its"}},
                    "required": ["name"],
                    "patternProperties": {"_pj$": number},
                    "additionalProperties": False,
                },
            },
            "required": [
                *("schema_version", "$schema", "name", "ends", "pair", "kind", "options", "files", "anything", "line")
            ],
            "additionalProperties": False,
            "$defs": {
                "Ends": {
                    "type": "object",
                    "description": "Both.",
                    "properties": {"low": {**number, **said}, "high": {**number, **said}},
                    "required": ["low", "high"],
                    "additionalProperties": False,
                },
                "Options": {
                    "type": "object",
                    "description": "What is set.",
                    "properties": {"bits": {"type": "integer", "description": "of a code"}},
                    "required": ["bits"],
                    "additionalProperties": False,
                },
            },
        }
        toy: Toy = {
            "name": "x",
            "ends": Ends(-math.inf, math.nan),
            "colours": (Colour.RED,),
            "pair": (np.int64(3), True),
            "kind": "a",
            "options": Options(),
            "files": {"a": Path("b")},
            "anything": {1: np.float32("nan")},
            "line": {"name": "y", "energy_pj": math.inf},
        }
        found = plain({"schema_version": 1, "$schema": "urn:bitwright:toy:1", **toy})
        jsonschema.Draft202012Validator(schema_of("toy", [Toy])).validate(found)
        assert found["ends"] == {"low": None, "high": None}
        assert found["anything"] == {"1": None}
        assert (found["pair"], found["colours"], found["files"]) == ([3, True], ["red"], {"a": "b"})

    def test_two_types_of_one_name_are_a_fault(self):
        one, other = TypedDict("Line", {"a": int}), TypedDict("Line", {"b": int})

        class Toy(TypedDict):
            a: one
            b: other

        with pytest.raises(TypeError, match="two types are named Line"):
            schema_of("toy", [Toy])

    def test_attributes_end_where_a_section_does(self):
        doc = (
            "A.\n\nAttributes\n----------\na : int\n    One.\n    Two.\nb, c\n    Three.\n\nRaises\n------\nE\n    No."
        )
        assert attributes(doc) == {"a": "One. Two.", "b": "Three.", "c": "Three."}
        assert attributes("Nothing.") == {}


class TestText:
    def test_names_that_do_not_print_are_escaped(self):
        """What a terminal acts upon, what ends a line in JavaScript, and halves of surrogate pairs of file names."""
        name = "\x1b[2J\x9b2J\x7f\u2028\udcff</script>é"
        shown = to_json(
            "systems", {"systems": [{"system": name, "methods": [name], "accelerators": [], "summary": ""}]}
        )
        assert not set(shown) & set("\x1b\x9b\x7f\u2028\udcff")
        assert shown.encode()
        assert strict(shown)["systems"][0]["system"] == "\x1b[2J\x9b2J\x7f\u2028\\udcff</script>é"

    def test_numbers_that_json_has_not(self):
        values = [math.nan, math.inf, -math.inf, np.float64("nan"), np.float32("inf"), 1.5, np.int64(7), np.bool_(True)]
        assert plain(values) == [None, None, None, None, None, 1.5, 7, True]


def test_lists_are_tuples_with_tables():
    found = systems()
    assert isinstance(found, tuple)
    assert found[0].name in found._repr_html_()
    assert set(found.to_frame().columns) == {"system", "method", "accelerator"}
    assert frame_of([], columns=["a"]).columns.tolist() == ["a"]


def properties(schema, owner=""):
    """(Whose, its key, its schema) of every property."""
    if isinstance(schema, list):
        for each in schema:
            yield from properties(each, owner)
    if isinstance(schema, dict):
        found = schema.get("properties")
        if schema.get("type") == "object" and isinstance(found, dict):
            yield from ((owner, key, each) for key, each in found.items())
        for key, each in schema.items():
            yield from properties(each, f"{owner}/{key}")
