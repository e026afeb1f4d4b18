"""Plans on disk: what is read is what was written, and everything else is refused in one sentence."""

import dataclasses
import json
import math
import os
import pickle
import random
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from bitwright.errors import InputError
from bitwright.methods.apsq.rule import Kind, PartialSums
from bitwright.methods.drift.conversion import Conversion
from bitwright.methods.drift.rule import Drift
from bitwright.methods.executor import Executor
from bitwright.methods.plan import OperandPlan, Plan, SitePlan
from bitwright.methods.plan_file import CHECKSUM, KEY, load_plan, plan_record, save_plan, signed
from bitwright.methods.protocol import compose
from bitwright.testing.networks import TOYS, shape_only, toy_networks


def made(toy="linear", recipe="int8", **options):
    network, samples = toy_networks()[toy]
    return network, compose(recipe, options).calibrate(network, samples), samples[0]


def same(a, b):
    """Equality of plans, down to the bits of their tensors."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if dataclasses.is_dataclass(a):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    if isinstance(a, dict):
        return set(a) == set(b) and all(same(a[key], b[key]) for key in a)
    return type(a) is type(b) and a == b


def in_one_sentence(error):
    assert "\n" not in str(error)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "plan.safetensors"


@pytest.fixture
def saved(path):
    network, plan, _ = made()
    save_plan(plan, path)
    return network, path


def rewrite(path, change):
    """The same file with its JSON changed."""
    with safe_open(str(path), framework="pt") as file:
        metadata = file.metadata()
        record = json.loads(metadata[KEY])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    record = change(record) or record
    save_file(tensors, path, metadata={**metadata, KEY: record if isinstance(record, str) else json.dumps(record)})


def refused(path, network):
    with pytest.raises(InputError) as error:
        load_plan(path, network)
    message = str(error.value)
    assert "\n" not in message
    assert str(path) in message
    return message


class TestRoundTrip:
    @pytest.mark.parametrize("toy", TOYS)
    @pytest.mark.parametrize("recipe", ["float", "int8", "int8-token", "int8-sym", "int7-sym", "w4a8"])
    def test_recipes(self, path, recipe, toy):
        network, plan, batch = made(toy, recipe)
        save_plan(plan, path)
        loaded = load_plan(path, network)
        assert same(plan, loaded)
        assert list(plan.sites) == list(loaded.sites)
        for exact in (True, False):
            outputs = [Executor(network, p, exact=exact).run(batch) for p in (plan, loaded)]
            assert torch.equal(*outputs)

    def test_a_composed_site(self, path):
        network, plan, _ = made(sites={"first": {"rounding": "floor", "saturation": "wrap", "x_granularity": "token"}})
        first = dataclasses.replace(
            plan.sites["first"],
            accumulation=PartialSums(
                kind=Kind.APSQ, tile=4, bits=16, tile_scales=torch.ones(2), sum_scales=torch.tensor([4.0, 2.0])
            ),
            precision=Drift(x_delta=0.5, block=8, conversion=Conversion.AFFINE),
        )
        plan = dataclasses.replace(plan, sites={**plan.sites, "first": first, "gone": SitePlan()}, notes=("a", "é\n"))
        save_plan(plan, path)
        assert same(plan, load_plan(path, network))

    def test_shapes_without_numbers(self, path):
        network = shape_only(toy_networks()["attention"][0])
        plan = compose("int8").calibrate(network, [])
        save_plan(plan, path)
        assert same(plan, load_plan(path, network))

    def test_scales_that_share_memory(self, path):
        network, plan, _ = made()
        scale = torch.arange(1.0, 21.0).view(20, 1)
        x = dataclasses.replace(plan.sites["first"].x, scale=scale[3, 0])
        w = dataclasses.replace(plan.sites["first"].w, scale=scale)
        plan = dataclasses.replace(plan, sites={"first": SitePlan(x=x, w=w)})
        save_plan(plan, path)
        assert same(plan, load_plan(path, network))

    def test_the_same_plan_is_the_same_bytes(self, path):
        _, plan, _ = made("conv")
        contents = set()
        for _ in range(16):
            save_plan(plan, path)
            contents.add(path.read_bytes())
        assert len(contents) == 1

    def test_no_code_in_the_file(self, saved):
        """It is safetensors: a length, JSON of that length, and plain numbers."""
        content = saved[1].read_bytes()
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        numbers = sum(end - start for start, end in (v["data_offsets"] for k, v in header.items() if k[0] != "_"))
        assert len(content) == 8 + length + numbers
        assert json.loads(header["__metadata__"][KEY])["schema_version"] == 5

    def test_the_network_may_come_from_anywhere(self, saved):
        network, path = saved
        again = toy_networks()["linear"][0]
        assert same(load_plan(path, network), load_plan(str(path), again))


class TestForeign:
    def test_other_network(self, saved):
        assert "was made for another network than toy-conv: it has no parameter 'first.bias'" in refused(
            saved[1], toy_networks()["conv"][0]
        )

    def test_further_parameter(self, saved):
        network, path = saved
        network.module.extra = torch.nn.Linear(2, 2)
        assert "it has a further parameter 'extra.bias' (and 1 more)" in refused(path, network)

    def test_other_values(self, saved):
        network, path = saved
        network.module.first.weight.data[3, 4] += 1e-6
        assert "its parameter 'first.weight' has other values" in refused(path, network)

    def test_other_shape(self, saved):
        network, path = saved
        network.module.last.weight = torch.nn.Parameter(torch.zeros(6, 20))
        message = refused(path, network)
        assert "its parameter 'last.weight' has shape and type 6x20 float32 instead of 5x20 float32" in message

    def test_other_type(self, saved):
        network, path = saved
        network.module.norm.double()
        assert "12 float64 instead of 12 float32" in refused(path, network)

    def test_shapes_only(self, saved):
        assert "its parameter 'norm.weight' has other values" in refused(saved[1], shape_only(saved[0]))


class TestDamaged:
    def test_missing(self, tmp_path):
        assert "no plan file" in refused(tmp_path / "none", toy_networks()["linear"][0])
        assert "no plan file" in refused(tmp_path, toy_networks()["linear"][0])

    @pytest.mark.parametrize("keep", [0, 4, 8, 200, -1, -100])
    def test_truncated(self, saved, keep):
        network, path = saved
        path.write_bytes(path.read_bytes()[:keep])
        assert "no plan file" in refused(path, network)

    @pytest.mark.parametrize(
        "content", [b"garbage that is long enough to hold a length", b"\xff" * 64, b"{}", pickle.dumps({"a": 1})]
    )
    def test_garbage(self, saved, content):
        network, path = saved
        path.write_bytes(content)
        assert "no plan file" in refused(path, network)

    def test_pickle_is_never_run(self, saved):
        network, path = saved

        class Trap:
            def __reduce__(self):
                return (Path.touch, (path.with_name("sprung"),))

        torch.save({"plan": Trap()}, path)
        refused(path, network)
        path.write_bytes(pickle.dumps(Trap()))
        refused(path, network)
        assert not path.with_name("sprung").exists()

    def test_other_safetensors(self, path):
        save_file({"weight": torch.zeros(2)}, path)
        assert "a safetensors file but no plan" in refused(path, toy_networks()["linear"][0])

    def test_future_version(self, saved):
        network, path = saved
        rewrite(path, lambda record: record.update(schema_version=6))
        assert "has plan schema version 6, this bitwright reads up to 5; upgrade" in refused(path, network)

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            (lambda r: r.update(schema_version="1"), "schema_version"),
            (lambda r: r.pop("schema_version") and None, "schema_version"),
            (lambda r: r.pop("sites") and None, "sites"),
            (lambda r: r.update(extra=1), "extra"),
            (lambda r: r["sites"]["first"]["x"].update(granularity="row"), "granularity"),
            (lambda r: r["sites"]["first"]["x"].update(zero_point=1.5), "zero_point"),
            (lambda r: r["sites"]["first"]["x"]["format"].update(bits=99), "2 to 16 bits"),
            (lambda r: r["sites"]["first"]["x"]["format"].update(bit=9), "bit"),
            (lambda r: r["sites"]["first"]["x"]["format"].update(type="posit"), "posit"),
            (lambda r: r["sites"]["first"]["x"]["format"].pop("type") and None, "type"),
            (lambda r: r["smoothing"].append("nowhere"), "smoothing/nowhere"),
            (lambda r: r["sites"].update(new=r["sites"]["first"]), "sites/new/x"),
            (lambda _: "[]", "damaged"),
            (lambda _: "{not json", "damaged"),
        ],
    )
    def test_contents(self, saved, change, named):
        network, path = saved
        rewrite(path, change)
        message = refused(path, network)
        assert "damaged plan" in message
        assert named in message

    @pytest.mark.parametrize(
        "change",
        [
            lambda r: r["sites"]["first"]["x"].update(zero_point=1),
            lambda r: r["sites"]["first"]["x"].update(dropped_mean=5.0),
            lambda r: r["sites"]["first"]["x"]["format"].update(bits=7),
            lambda r: r["sites"]["first"].update(x=None),
            lambda r: r.update(method="aqs"),
            lambda r: r.update(options={}),
            lambda r: r.update(fingerprint={}),
            lambda r: r.update(schema_version=1),
            lambda r: r["notes"].append("\x1b[31m"),
        ],
    )
    def test_contents_that_could_be_a_plan(self, saved, change):
        network, path = saved
        rewrite(path, change)
        assert "damaged plan" in refused(path, network)

    @pytest.mark.parametrize("value", [math.nan, math.inf, 0.0, -0.5])
    def test_other_scales(self, saved, value):
        network, path = saved
        with safe_open(str(path), framework="pt") as file:
            metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        tensors["sites/first/x"] = torch.full_like(tensors["sites/first/x"], value)
        save_file(tensors, path, metadata=metadata)
        assert "is a damaged plan: sites/first/x holds" in refused(path, network)


def craft(path, record, tensors):
    """A file of the record and the tensors with the checksum that belongs to them."""
    record = json.loads(json.dumps(record))
    save_file(tensors, path, metadata={KEY: json.dumps({**record, CHECKSUM: signed(record, tensors)})})


def parts_of(plan):
    tensors = {}
    return plan_record(plan, tensors), tensors


def at(record, place):
    for key in place:
        record = record[key]
    return record


class TestEveryByte:
    """Whichever byte of a file is another one, it is refused, or the plan has the same bits."""

    def test_is_noticed(self, path):
        _, plan, _ = made()
        small = dataclasses.replace(plan, sites={"last": plan.sites["last"]}, fingerprint={}, weights={}, options={})
        save_plan(small, path)
        content, draw, read = path.read_bytes(), random.Random(0), 0  # noqa: S311
        for index, byte in enumerate(content):
            path.write_bytes(content[:index] + bytes([byte ^ draw.randrange(1, 256)]) + content[index + 1 :])
            try:
                assert same(load_plan(path, None), small)
                read += 1
            except InputError as error:
                in_one_sentence(error)
        assert read < 0.02 * len(content)  # white space of the header


TENSORS = {
    "negative": lambda t: -t,
    "zero": torch.zeros_like,
    "infinite": lambda t: t / 0,
    "NaN": lambda t: t * torch.nan,
    "huge": lambda t: t * 1e30,
    "denormal": lambda t: t * 0 + 1e-42,
    "int64": lambda t: t.long(),
    "float64": lambda t: t.double(),
    "half": lambda t: t.half(),
    "complex": lambda t: t.to(torch.complex64),
    "boolean": lambda t: t.bool(),
    "none": lambda t: t.flatten()[:0],
    "twice": lambda t: torch.cat([t.flatten()] * 2),
    "further axes": lambda t: t.reshape(1, 1, *t.shape),
    "many axes": lambda t: t.reshape(*[1] * 20, *t.shape),
}


class TestCrafted:
    """Whoever writes a plan can write its checksum too: it is held to what calibration gives, then to the network."""

    @pytest.mark.parametrize("what", TENSORS)
    @pytest.mark.parametrize("part", ["x", "w"])
    def test_scales(self, path, part, what):
        network, plan, batch = made()
        record, tensors = parts_of(plan)
        tensors[f"sites/first/{part}"] = TENSORS[what](tensors[f"sites/first/{part}"]).contiguous()
        craft(path, record, tensors)
        if (part, what) == ("x", "further axes"):  # one number still
            assert torch.equal(*(Executor(network, each).run(batch) for each in (plan, load_plan(path, network))))
            return
        with pytest.raises(InputError, match=r"sites/first/|of first"):
            Executor(network, load_plan(path, network)).run(batch)

    @pytest.mark.parametrize("value", [-1.0, 0.0, 1e30, math.inf])
    def test_one_scale_of_many(self, path, value):
        network, plan, batch = made()
        record, tensors = parts_of(plan)
        tensors["sites/first/w"][3] = value
        craft(path, record, tensors)
        with pytest.raises(InputError, match=r"sites/first/w|w of first"):
            Executor(network, load_plan(path, network)).run(batch)

    @pytest.mark.parametrize(
        ("place", "value", "named"),
        [
            (("sites", "first", "x", "zero_point"), -1, "zero point of sites/first/x is -1; uint8 has 0 to 255"),
            (("sites", "first", "x", "zero_point"), 256, "zero point"),
            (("sites", "first", "x", "zero_point"), 2**70, "zero point|zero_point"),
            (("sites", "first", "x", "dropped_mean"), 5.0, "dropped mean"),
            (("sites", "first", "x", "dropped_mean"), math.nan, "dropped"),
            (("sites", "first", "x", "granularity"), "first:1", "first:1 are two"),
            (("sites", "first", "x", "granularity"), "token", "taken as the network runs"),
            (("sites", "first", "x", "granularity"), "group:" + "9" * 6000, "granularity"),
            (("sites", "first", "w", "granularity"), "tensor", "20 scales; a tensor has one"),
            (("sites", "first", "w", "granularity"), "group:3", "do not fit"),
            (("sites", "first", "precision"), {"name": "drift", "options": {}, "tensors": []}, "int8 does not make"),
            (
                ("sites", "first", "accumulation"),
                {"name": "partial-sums", "options": {"kind": "apsq", "tile": 4}, "tensors": []},
                "int8 does not make",
            ),
            (
                ("sites", "first", "precision"),
                {"name": "drift", "options": {"x_delta": math.inf}, "tensors": []},
                "x_delta",
            ),
            (("sites", "first", "precision"), {"name": "drift", "options": {"region": 0}, "tensors": []}, "0 pixels"),
            (("sites", "first", "accumulation"), {"name": "narrow", "options": {"bits": 900}, "tensors": []}, "900"),
            (("rotations",), {"first": {"where": "run-time", "bits": 16, "step": 0}}, "16 bits and a step of 0"),
            (("rotations",), {"first": {"where": "run-time", "bits": 1, "step": 1.0}}, "1 bit"),
            (("rotations",), {"first": {"where": "run-time", "block": 44}}, "44, of which no Hadamard matrix"),
            (("rotations",), {"first": {"where": "run-time", "block": 1}}, "blocks of 1"),
            (("rotations",), {"first": {"where": "run-time", "block": 2**20}}, "1048576 channels, which do not divide"),
            (("rotations",), {"first": {"where": "stream", "block": 4}}, "one matrix"),
            (("promise",), math.inf, "promise"),
            (("promise",), -1.0, "promise"),
            (("method",), "unheard-of", "unknown method"),
            (("options",), {"int8": {"x_bits": 99}}, "x_bits"),
        ],
    )
    def test_contents(self, path, place, value, named):
        network, plan, batch = made()
        record, tensors = parts_of(dataclasses.replace(plan, options={}))
        at(record, place[:-1])[place[-1]] = value
        craft(path, record, tensors)
        with pytest.raises(InputError, match=named) as error:
            Executor(network, load_plan(path, network)).run(batch)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(
        ("tensors", "named"),
        [
            ({"tile_scales": torch.ones(2)}, "one per tile each"),
            ({"tile_scales": torch.ones(2), "sum_scales": torch.ones(3)}, "one per tile each, not 2 and 3"),
            ({"tile_scales": torch.ones(2).double(), "sum_scales": torch.ones(2)}, "float32"),
            ({"tile_scales": torch.tensor([3.0]), "sum_scales": torch.ones(1)}, "powers of two"),
            ({"centres": torch.zeros(3)}, "int32"),
        ],
    )
    def test_partial_sums(self, tensors, named):
        with pytest.raises(ValueError, match=named):
            PartialSums(kind=Kind.APSQ, tile=4, **tensors)

    @pytest.mark.parametrize("change", ["negative", "infinite", "int64", "none", "twice"])
    def test_smoothing_and_weights(self, path, change):
        network, plan, _ = made("conv")
        for part, name in (("smoothing", "0"), ("weights", "0.weight")):
            held = TENSORS[change](torch.ones(4)).contiguous()
            if part == "weights" and change in ("negative", "twice", "none"):
                continue
            record, tensors = parts_of(dataclasses.replace(plan, **{part: {name: held}}))
            craft(path, record, tensors)
            if part == "smoothing" and change == "twice":
                assert len(load_plan(path, network).smoothing[name]) == 8  # whether they fit is the network's to say
                continue
            with pytest.raises(InputError, match=f"{part}/{name}"):
                load_plan(path, network)

    @pytest.mark.parametrize("recipe", ["int8", "lp6", "ant-w4a8", "int8+apsq-gs2"])
    def test_anything_else_runs_or_is_refused(self, path, recipe):
        """Random changes of the record and of tensors, with the checksum that belongs to them."""
        network, plan, batch = made("linear", recipe)
        (record, tensors), draw = parts_of(plan), random.Random(recipe)  # noqa: S311
        outcomes = Counter()
        for _ in range(int(os.environ.get("BITWRIGHT_MUTATIONS", "60"))):
            craft(path, *mutated(record, tensors, draw))
            try:
                output = Executor(network, load_plan(path, network)).run(batch)
                outcomes["ran"] += 1
                assert output.shape == (len(batch["x"]), 5)
            except InputError as error:
                outcomes["refused"] += 1
                in_one_sentence(error)
        assert min(outcomes["ran"], outcomes["refused"]) > 0


VALUES = [None, True, -1, 0, 3, 17, 2**31, 2**63, 10**30, 0.5, 1e30, math.nan, math.inf, "", "x", [], {}, [1], {"a": 1}]
WORDS = ["tensor", "channel", "token", "group:3", "first:1", "static", "exact", "integer", "log-posit", "floor", "wrap"]


def mutated(record, tensors, draw):
    """The parts of a plan with one value, or one tensor, that is another."""
    record, tensors = json.loads(json.dumps(record)), dict(tensors)
    if draw.random() < 0.4:
        name = draw.choice(sorted(tensors))
        tensors[name] = TENSORS[draw.choice(sorted(TENSORS))](tensors[name]).contiguous()
        return record, tensors
    places = [place for place in places_of(record) if place[0] != "fingerprint"]
    place = draw.choice(places)
    at(record, place[:-1])[place[-1]] = draw.choice(VALUES + WORDS)
    return record, tensors


def places_of(value, above=()):
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield (*above, key)
        yield from places_of(inner, (*above, key))


class TestWriting:
    def test_a_failing_write_leaves_the_old_file(self, saved, monkeypatch):
        network, path = saved
        before, (_, other, _) = path.read_bytes(), made(w_bits=5)

        def full(self, target):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "replace", full)
        with pytest.raises(InputError, match="No space left on device; give a writable path"):
            save_plan(other, path)
        monkeypatch.undo()
        assert path.read_bytes() == before
        assert [p.name for p in path.parent.iterdir()] == [path.name]
        load_plan(path, network)

    def test_an_interrupted_write_leaves_the_old_file(self, saved, monkeypatch):
        _, path = saved
        before, (_, other, _) = path.read_bytes(), made(w_bits=5)

        def interrupt(self, mode):
            raise KeyboardInterrupt

        monkeypatch.setattr(Path, "chmod", interrupt)  # after the bytes are written, before they are in place
        with pytest.raises(KeyboardInterrupt):
            save_plan(other, path)
        monkeypatch.undo()
        assert path.read_bytes() == before
        assert [p.name for p in path.parent.iterdir()] == [path.name]

    def test_overwrites(self, saved):
        network, path = saved
        _, other, _ = made(w_bits=5)
        save_plan(other, path)
        assert same(load_plan(path, network), other)

    def test_folder_that_does_not_exist(self, tmp_path):
        with pytest.raises(InputError, match=r"cannot write .*: No such file or directory"):
            save_plan(Plan(method="float"), tmp_path / "none" / "plan")

    def test_path_of_a_folder(self, tmp_path):
        with pytest.raises(InputError, match="Is a directory"):
            save_plan(Plan(method="float"), tmp_path)

    def test_a_file_like_any_other(self, saved):
        """Whoever may read new files of this user may read a plan."""
        plain = saved[1].with_name("plain")
        plain.touch()
        assert saved[1].stat().st_mode == plain.stat().st_mode


def test_unknown_formats_are_not_written(path):
    class Strange:
        bits = 8

    _, plan, _ = made()
    x = OperandPlan(format=Strange(), granularity=plan.sites["first"].x.granularity)
    with pytest.raises(InputError, match="Strange"):
        save_plan(dataclasses.replace(plan, sites={"first": SitePlan(x=x)}), path)
    assert not path.exists()
