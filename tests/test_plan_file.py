"""Plans on disk: what is read is what was written, and everything else is refused in one sentence."""

import dataclasses
import json
import math
import pickle
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
from bitwright.methods.plan_file import KEY, load_plan, save_plan
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
        assert json.loads(header["__metadata__"][KEY])["schema_version"] == 3

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
        rewrite(path, lambda record: record.update(schema_version=4))
        assert "has plan schema version 4, this bitwright reads up to 3; upgrade" in refused(path, network)

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
        assert "not those that were written" in refused(path, network)


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
