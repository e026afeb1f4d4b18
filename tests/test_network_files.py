"""Files that are networks beside ONNX: exported programs, safetensors, GGUF; and pickles, which are never read."""

import io
import json
import pickle
import zipfile

import pytest
import torch

from bitwright.errors import InputError
from bitwright.networks.load import load
from bitwright.networks.network import InputShape
from bitwright.networks.trace import trace


class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.head = torch.nn.Linear(4 * 36, 5)

    def forward(self, x):
        return self.head(self.conv(x).relu().flatten(1))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A program with an open batch, its module and its file."""
    torch.manual_seed(0)
    module, path = Small().eval(), tmp_path_factory.mktemp("exported") / "small.pt2"
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(module, (torch.randn(2, 3, 8, 8),), dynamic_shapes=({0: batch},))
    torch.export.save(program, path)
    with zipfile.ZipFile(path) as archive:
        if not any(name.endswith("/archive_format") for name in archive.namelist()):
            pytest.skip("this torch writes exported programs in an older form, which is not read")
    return module, path


def changed(path, target, change):
    """A copy of an archive in which `change` made another JSON of every entry whose name ends in `suffix`."""
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(target, "w") as copy:
        for name in archive.namelist():
            data = archive.read(name)
            copy.writestr(name, change(name, data))
    return target


def test_an_exported_program_is_a_network(exported):
    module, path = exported
    network = load(str(path))
    assert sum(site.macs for site in trace(network).sites) == 2 * (36 * 27 * 4 + 144 * 5)
    x = torch.randn(3, 3, 8, 8)
    with torch.no_grad():
        assert torch.allclose(network.module(x), module(x), atol=1e-6)
    assert network.example(InputShape())["input_0"].shape == (2, 3, 8, 8)


class Ran(Exception):  # noqa: N818
    """Raised by code that must not run."""


def explode():
    raise Ran


class Bomb:
    def __reduce__(self):
        return (explode, ())


def replaced(old, new):
    return lambda name, data: data.replace(old, new) if name.endswith(".json") else data


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (replaced(b"torch.ops.aten.relu.default", b"torch.hub.load"), "torch.hub.load"),
        (replaced(b"torch.ops.aten.relu.default", b"torch.ops.aten.from_file.default"), "from_file"),
        (replaced(b"torch.ops.aten.relu.default", b"_operator.call"), "_operator.call"),
        (replaced(b"Symbol('s", b"__import__('os') or Symbol('s"), "no expression of sizes"),
        (replaced(b'"use_pickle": false', b'"use_pickle": true'), "is a pickle"),
        (
            lambda name, data: pickle.dumps(((Bomb(),), {})) if "sample_inputs" in name else data,
            "example inputs are no tensors",
        ),
        (lambda name, data: data[:20] if name.endswith("model.json") else data, "cannot be read"),
    ],
)
def test_an_exported_program_that_would_run_code_is_refused(exported, tmp_path, change, sentence):
    with pytest.raises(InputError, match=sentence):
        load(str(changed(exported[1], tmp_path / "other.pt2", change)))


def test_texts_that_torch_would_run_are_left_out(exported, tmp_path):
    def guarded(name, data):
        if not name.endswith("model.json"):
            return data
        return json.dumps(json.loads(data) | {"guards_code": ["explode()"]}).encode()

    network = load(str(changed(exported[1], tmp_path / "other.pt2", guarded)))
    assert network.forward(network.example(InputShape())).shape == (2, 5)


@pytest.mark.parametrize("name", ["weights.pt", "weights.pth", "pytorch_model.bin", "weights.bla"])
def test_pickles_are_refused_with_what_to_do(tmp_path, name):
    buffer = io.BytesIO()
    torch.save({"w": torch.zeros(2)}, buffer)
    for content in (buffer.getvalue(), pickle.dumps(Bomb(), protocol=2)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=r"is a pickle.*torch\.onnx\.export"):
            load(str(tmp_path / name))


def test_safetensors_need_their_configuration(tmp_path):
    from safetensors.torch import save_file

    save_file({"w": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"config\.json"):
        load(str(tmp_path / "model.safetensors"))


def test_safetensors_beside_a_configuration_are_the_folder(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers build what the configuration says")
    config = transformers.BertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, vocab_size=50
    )
    transformers.BertModel(config).save_pretrained(tmp_path)
    file, folder = (load(str(path)) for path in (tmp_path / "model.safetensors", tmp_path))
    assert file.kind == folder.kind == "sentence"
    assert torch.equal(file.forward(file.example(InputShape())), folder.forward(folder.example(InputShape())))
    (tmp_path / "other.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match=r"other\.safetensors"):
        load(str(tmp_path / "model.safetensors"))


@pytest.mark.parametrize(("name", "sentence"), [("a.tflite", "convert it to ONNX"), ("a.pt2", "no file of a network")])
def test_other_files_are_refused(tmp_path, name, sentence):
    (tmp_path / name).write_bytes(b"nothing")
    with pytest.raises(InputError, match=sentence):
        load(str(tmp_path / name))


def test_a_damaged_gguf_is_refused(tmp_path):
    pytest.importorskip("gguf", reason="GGUF files are read by the package gguf")
    pytest.importorskip("transformers", reason="transformers build what the file says")
    (tmp_path / "a.gguf").write_bytes(b"GGUF" + bytes(30))
    with pytest.raises(InputError, match="damaged"):
        load(str(tmp_path / "a.gguf"))


def test_sizes_by_name_are_for_onnx_alone():
    with pytest.raises(InputError, match="--shape"):
        load("gemm:8x8x8", dims={"x": (1,)})
