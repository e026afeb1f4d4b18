"""Hugging Face folders as they come: tiny networks of many architectures, saved by transformers and loaded again."""

import json

import pytest
import torch
from PIL import Image

import bitwright
from bitwright.errors import InputError
from bitwright.networks import packages
from bitwright.networks.load import load
from bitwright.networks.network import InputShape
from bitwright.networks.trace import trace
from bitwright.tasks.inputs import tool
from bitwright.tasks.training_samples import training_samples

transformers = pytest.importorskip("transformers")

WORDS = 64
SIZES = {
    "vocab_size": WORDS,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
LATENT = {
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 6,
    "moe_intermediate_size": 16,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
}
GROUPED = {"num_key_value_heads": 2, "head_dim": 8}
SEEN = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48}
PICTURES = {**SEEN, "image_size": 32, "patch_size": 8}
SOUND = {
    **SEEN,
    "vocab_size": WORDS,
    "conv_dim": [16, 16],
    "conv_kernel": [10, 8],
    "conv_stride": [5, 4],
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
WHISPER = {
    "vocab_size": WORDS,
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "num_mel_bins": 16,
    "max_source_positions": 50,
    "max_target_positions": 20,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
MADE = {  # name -> architecture, configuration, its fields
    "llama": ("LlamaForCausalLM", "LlamaConfig", {**SIZES, **GROUPED}),
    "gemma2": ("Gemma2ForCausalLM", "Gemma2Config", {**SIZES, **GROUPED, "sliding_window": 8}),
    "gpt-oss": ("GptOssForCausalLM", "GptOssConfig", {**SIZES, **GROUPED, "num_local_experts": 4, "sliding_window": 8}),
    "mamba": (
        "MambaForCausalLM",
        "MambaConfig",
        {"vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
    ),
    "rwkv": (
        "RwkvForCausalLM",
        "RwkvConfig",
        {"vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 2, "attention_hidden_size": 32},
    ),
    "bloom": ("BloomForCausalLM", "BloomConfig", {"vocab_size": WORDS, "hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "mpt": ("MptForCausalLM", "MptConfig", {"vocab_size": WORDS, "d_model": 32, "n_layers": 2, "n_heads": 4}),
    "falcon": (
        "FalconForCausalLM",
        "FalconConfig",
        {"vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "multi_query": True},
    ),
    "deepseek-v2": ("DeepseekV2ForCausalLM", "DeepseekV2Config", {**SIZES, **LATENT, "num_key_value_heads": 4}),
    "jamba": (
        "JambaForCausalLM",
        "JambaConfig",
        {
            **SIZES,
            "num_key_value_heads": 2,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "num_experts": 2,
            "mamba_d_state": 4,
            "use_mamba_kernels": False,
        },
    ),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", {"vocab_size": WORDS, "n_embd": 32, "n_layer": 2, "n_head": 4}),
    "bert": ("BertModel", "BertConfig", SIZES),
    "t5": (
        "T5ForConditionalGeneration",
        "T5Config",
        {"vocab_size": WORDS, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4},
    ),
    "whisper": ("WhisperForConditionalGeneration", "WhisperConfig", WHISPER),
    "whisper-classes": ("WhisperForAudioClassification", "WhisperConfig", WHISPER),
    "wav2vec2": ("Wav2Vec2ForCTC", "Wav2Vec2Config", SOUND),
    "bert-classes": ("BertForSequenceClassification", "BertConfig", SIZES),
    "vit": ("ViTForImageClassification", "ViTConfig", PICTURES),
    "vit-gray": ("ViTForImageClassification", "ViTConfig", {**PICTURES, "num_channels": 1}),
    "vit-processed": ("ViTForImageClassification", "ViTConfig", PICTURES),
    "clip": (
        "CLIPModel",
        "CLIPConfig",
        {"text_config": {**SEEN, "vocab_size": WORDS, "bos_token_id": 0, "eos_token_id": 1}, "vision_config": PICTURES},
    ),
}
LANGUAGE = ["llama", "gemma2", "gpt-oss", "mamba", "rwkv", "bloom", "mpt", "falcon", "deepseek-v2", "jamba"]
TOKENS = 12


@pytest.fixture(autouse=True)
def one_thread():
    """These inputs are tiny: more threads would only wait for each other where cores are shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Name -> its folder, made when it is first asked for."""
    root = tmp_path_factory.mktemp("folders")

    def folder(name):
        if not (root / name).is_dir():
            module(name).save_pretrained(root / name)
        return root / name

    return folder


def module(name, dtype=torch.float32):
    architecture, configuration, fields = MADE[name]
    with packages.quiet(), torch.random.fork_rng():
        torch.manual_seed(1)
        config = getattr(transformers, configuration)(**fields)
        return getattr(transformers, architecture)._from_config(config, dtype=dtype).eval()


def config_only(folder, config):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return str(folder)


def config_of(saved, name, **changes):
    return {**json.loads((saved(name) / "config.json").read_text()), **changes}


# Language models and their decoding steps


@pytest.mark.parametrize("name", LANGUAGE)
def test_a_language_model_computes_what_transformers_do(saved, name):
    network = load(str(saved(name)))
    assert (network.kind, network.shape_only) == ("language", False)
    assert network.notes == ("there is no tokenizer in the folder, so no text can be read",)
    ids = torch.randint(WORDS, (2, TOKENS), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected = module(name)(input_ids=ids).logits
        assert torch.allclose(network.forward({"input_ids": ids}), expected, atol=1e-5)
    assert trace(network, network.example(InputShape(sequence_length=TOKENS))).sites


@pytest.mark.parametrize("name", LANGUAGE)
def test_a_decoding_step_continues_what_the_model_has_read(saved, name):
    network = load(str(saved(name)))
    step = network.example(InputShape(sequence_length=TOKENS, phase="decode"))
    assert step["input_ids"].shape == (1, 1)
    assert step["context"].shape == (1, TOKENS)
    before = {key: tensor.clone() for key, tensor in step.items()}
    with torch.no_grad():
        logits = network.forward(step)
        whole = network.forward({"input_ids": torch.cat([step["context"], step["input_ids"]], dim=1)})
        assert torch.allclose(logits[:, 0], whole[:, -1], atol=1e-5)
        assert torch.equal(network.forward(step), logits)  # whatever the step writes, the batch is as it was
    assert all(torch.equal(tensor, before[key]) for key, tensor in step.items())


@pytest.mark.parametrize("name", LANGUAGE)
def test_a_decoding_step_does_not_count_what_was_read_before(saved, name):
    network = load(str(saved(name)))
    one, many = (
        trace(network, network.example(InputShape(sequence_length=tokens, phase="decode"))) for tokens in (4, TOKENS)
    )
    assert [site.name for site in one.sites] == [site.name for site in many.sites]
    rows = {site.m for site in many.sites if site.op == "linear"}
    assert rows == ({1, TOKENS + 1} if name == "deepseek-v2" else {1})  # DeepSeek expands all the latents that it keeps
    prefill = trace(network, network.example(InputShape(sequence_length=TOKENS)))
    assert one.macs <= many.macs < prefill.macs / 4


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("llama", {"keys": [(2, 3, 2, TOKENS, 8)], "values": [(2, 3, 2, TOKENS, 8)]}),
        ("falcon", {"keys": [(2, 3, 1, TOKENS, 8)], "values": [(2, 3, 1, TOKENS, 8)]}),  # one head for all queries
        ("gemma2", {"keys": [(1, 3, 2, 7, 8), (1, 3, 2, TOKENS, 8)]}),  # a window of 8 sees 7 tokens before its own
        ("mamba", {"conv_states": [(2, 3, 64, 4)], "recurrent_states": [(2, 3, 64, 8)]}),
    ],
)
def test_what_a_model_keeps_has_its_own_shapes(saved, name, kept):
    step = load(str(saved(name))).example(InputShape(batch=3, sequence_length=TOKENS, phase="decode"))
    for word, shapes in kept.items():
        found = [tuple(tensor.shape) for key, tensor in step.items() if key.split(".")[1:2] == [word]]
        assert found == shapes


def test_a_step_that_transformers_get_wrong_is_refused(saved):
    with pytest.raises(InputError, match=r"decoding step is wrong in this version of transformers .* batch of 1"):
        load(str(saved("rwkv"))).example(InputShape(batch=2, sequence_length=4, phase="decode"))


def test_a_step_that_fails_in_transformers_is_refused_in_a_sentence(saved, monkeypatch):
    network = load(str(saved("llama")))

    def fail(*_, **__):
        raise RuntimeError("no such cache\nand more")

    monkeypatch.setattr(network.module, "forward", fail)
    with pytest.raises(InputError, match=r"decoding step after 4 tokens fails in transformers \(no such cache\)"):
        network.example(InputShape(sequence_length=4, phase="decode"))


def test_attention_is_the_models_own(saved, tmp_path):
    assert load(str(saved("gemma2"))).module.config._attn_implementation == "eager"
    assert load(str(saved("llama"))).module.config._attn_implementation == "sdpa"
    folder = config_only(tmp_path / "eager", config_of(saved, "llama", attn_implementation="eager"))
    assert load(folder).module.config._attn_implementation == "eager"


# Weights


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_shards_load_in_the_type_they_were_saved_in(tmp_path, dtype):
    made = module("llama", dtype)
    made.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    network = load(str(tmp_path))
    assert {parameter.dtype for parameter in network.module.parameters()} == {dtype}
    ids = torch.arange(TOKENS)[None]
    with torch.no_grad():
        assert torch.equal(network.forward({"input_ids": ids}), made(input_ids=ids).logits)
    next(tmp_path.glob("model-00002*")).unlink()
    with pytest.raises(InputError, match=r"cannot load .*model-00002-of"):
        load(str(tmp_path))


def test_a_folder_with_only_a_configuration_gets_random_weights(saved, tmp_path):
    folder = config_only(tmp_path, config_of(saved, "t5", dtype="bfloat16"))
    state = torch.get_rng_state()
    first, second = load(folder), load(folder)
    assert torch.equal(torch.get_rng_state(), state)
    assert "weights are random (seed 0): the folder has no safetensors" in first.notes[0]
    weights = (network.module.state_dict() for network in (first, second))
    assert all(torch.equal(a, b) for a, b in zip(*(each.values() for each in weights), strict=True))
    assert next(first.module.parameters()).dtype == torch.bfloat16


def test_random_weights_are_simulated_and_judged_by_fidelity(saved, tmp_path):
    network = load(config_only(tmp_path, config_of(saved, "whisper-classes")))
    plan = bitwright.calibrate(network, "int8")
    assert bitwright.evaluate(network, plan, limit=4).score.value > 20
    simulation = bitwright.simulate(network, plan, "systolic-ws")
    assert simulation.cost.cycles > 0
    assert any("weights are random" in note for note in simulation.notes)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("pytorch_model.bin", b"", "weights in pytorch_model.bin, but only safetensors are read"),
        ("pytorch_model.bin.index.json", b"{}", "only safetensors are read"),
        ("consolidated.00.pth", b"", "only safetensors are read"),
        ("model.gguf", b"", "only safetensors are read"),
        ("model.safetensors", b"", "cannot load .* header too small"),
        ("adapter_model.safetensors", b"", "cannot load .* no file named model.safetensors"),
        ("model.safetensors.index.json", b"{", "cannot load"),
        ("model.safetensors.index.json", b"[]", "cannot load"),
    ],
)
def test_weights_that_are_not_read_are_refused(saved, tmp_path, file, content, said):
    folder = config_only(tmp_path, config_of(saved, "llama"))
    (tmp_path / file).write_bytes(content)
    with pytest.raises(InputError, match=said):
        load(folder)


def test_leftovers_of_training_are_no_weights(saved, tmp_path):
    folder = config_only(tmp_path, config_of(saved, "llama"))
    (tmp_path / "training_args.bin").touch()
    assert "random" in load(folder).notes[0]


# Configurations that cannot be


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("llama", {"hidden_size": 10**12}, "asks for 64,000,000,000,000 numbers or more .* of memory are free"),
        ("llama", {"hidden_size": 10**30}, "no network can be built of its config.json"),
        ("llama", {"intermediate_size": 10**18}, "no network can be built of its config.json"),
        ("llama", {"hidden_size": 0}, "no weights at all"),
        ("llama", {"hidden_size": -1}, "cannot load .* multiple of the number of attention heads"),
        ("llama", {"hidden_size": "32"}, "cannot load .*'hidden_size' expected int"),
        ("llama", {"num_hidden_layers": 10**10}, "num_hidden_layers is 10000000000; at most 10000"),
        ("mpt", {"n_layers": 10**10}, "n_layers is 10000000000"),
        ("t5", {"num_decoder_layers": 10**9}, "num_decoder_layers is 1000000000"),
        ("bert", {"max_position_embeddings": 10**12}, "numbers or more"),
        ("vit", {"image_size": 10**9}, "numbers or more"),
        ("llama", {"hidden_act": "nope"}, "cannot load .*KeyError: 'nope'"),
        ("llama", {"dtype": "float99"}, "cannot load .*float99"),
        ("llama", {"model_type": "nope"}, "cannot load .*nope"),
    ],
)
def test_configurations_that_cannot_be_built_give_one_sentence(saved, tmp_path, name, change, said):
    with pytest.raises(InputError, match=said) as error:
        load(config_only(tmp_path, config_of(saved, name, **change)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("config", "said"), [("[]", "is a JSON list"), ("{", "cannot read"), ("[" * 100_000, "cannot read")]
)
def test_files_that_are_no_configuration_give_one_sentence(tmp_path, config, said):
    with pytest.raises(InputError, match=said):
        load(config_only(tmp_path, config))


def test_buffers_count_as_memory(tmp_path):
    config = {"model_type": "gpt_bigcode", "n_embd": 32, "n_head": 4, "n_layer": 1, "n_positions": 10**6}
    with pytest.raises(InputError, match="numbers or more"):  # a causal mask of 10^12
        load(config_only(tmp_path, config))


@pytest.mark.parametrize("names", [["../../x"], ["os"], ["LlamaConfig"], [5], "Llama", None])
def test_only_architectures_of_transformers_are_built(saved, tmp_path, names):
    network = load(config_only(tmp_path, config_of(saved, "llama", architectures=names)))
    assert type(network.module).__name__ in {"LlamaForCausalLM", "LlamaModel"}


# Text and pictures without their tools


def test_an_encoder_without_a_tokenizer_says_what_is_missing(saved, tmp_path):
    network = load(str(saved("bert")))
    assert (network.kind, "tokenizer" in network.tools) == ("sentence", False)
    assert trace(network).macs
    with pytest.raises(InputError, match=r"without a tokenizer, .* put its tokenizer's files \(tokenizer.json"):
        tool(network, "tokenizer")
    folder = config_only(tmp_path, config_of(saved, "bert"))
    (tmp_path / "tokenizer.json").write_text("{")
    (note,) = load(folder).notes[1:]
    assert note.startswith("its tokenizer cannot be loaded (")


@pytest.mark.parametrize(("name", "kind"), [("gpt2", "GPT2Tokenizer"), ("bert", "BertTokenizer")])
def test_a_tokenizer_without_a_vocabulary_is_none(saved, tmp_path, name, kind):
    """transformers make one up that turns text into no tokens, or into unknown ones."""
    folder = config_only(tmp_path, config_of(saved, name))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kind}))
    network = load(folder)
    assert "its tokenizer has no vocabulary, so no text can be read" in network.notes
    assert bitwright.evaluate(network, "int8", limit=8, calibration_count=2).score.value > 20
    assert bitwright.simulate(network, "int8", calibration_count=2).cost.cycles > 0


@pytest.mark.parametrize("name", ["gpt2", "bert"])
def test_a_network_without_a_tokenizer_trains_on_drawn_tokens(saved, tmp_path, name):
    found = training_samples(load(config_only(tmp_path, config_of(saved, name))), batch_size=2)
    assert "inputs like the network's example, 2 a step" in found.description
    first, second = (found.stream(step)["input_ids"] for step in (0, 1))
    assert first.shape == second.shape
    assert not torch.equal(first, second)
    assert torch.equal(first, found.stream(0)["input_ids"])


def test_pictures_without_a_processor_are_scaled_to_the_whole_range(saved):
    network = load(str(saved("vit")))
    (note,) = network.notes
    assert note.startswith("there is no image processor in the folder; pictures are resized")
    for shade, value in (("white", 1.0), ("black", -1.0)):
        pixels = network.tools["preprocess"](Image.new("RGB", (50, 40), shade))
        assert torch.equal(pixels, torch.full((3, 32, 32), value))


def test_pictures_of_another_size_keep_the_processors_normalisation(saved):
    folder = saved("vit-processed")
    processor = {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": 32, "width": 32},
        "image_mean": [0.0, 0.0, 0.0],
        "image_std": [0.5, 0.5, 0.5],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    own, other = load(str(folder)), load(str(folder), shape=InputShape(image_size=48))
    assert (own.notes, len(other.notes)) == ((), 1)
    for network, size in ((own, 32), (other, 48)):
        pixels = network.tools["preprocess"](Image.new("RGB", (50, 40), "white"))
        assert torch.allclose(pixels, torch.full((3, size, size), 2.0))
        assert network.forward({"pixel_values": pixels[None]}).shape == (1, 2)


def test_a_size_of_pictures_that_a_network_cannot_take_is_refused(saved):
    with pytest.raises(InputError, match=r"image_size is 4, which ViTForImageClassification cannot take"):
        load(str(saved("vit")), shape=InputShape(image_size=4))


def test_sizes_that_do_not_apply_are_refused(saved):
    with pytest.raises(InputError, match=r"image_size is 8, which does not apply \(it reads text\)"):
        load(str(saved("llama"))).example(InputShape(image_size=8))
    with pytest.raises(InputError, match="sequence_length is 8, which does not apply"):
        load(str(saved("wav2vec2"))).example(InputShape(sequence_length=8))
    with pytest.raises(InputError, match="sequence_length is 21, but the network has 20 positions"):
        load(str(saved("whisper"))).example(InputShape(sequence_length=21))
    with pytest.raises(InputError, match="only language models decode"):
        load(str(saved("t5"))).example(InputShape(phase="decode"))


# Other heads


@pytest.mark.parametrize(
    ("name", "inputs", "output"),
    [
        ("t5", {"input_ids": (2, 128), "decoder_input_ids": (2, 128)}, (2, 128, WORDS)),
        ("whisper", {"input_features": (2, 16, 100), "decoder_input_ids": (2, 20)}, (2, 20, WORDS)),
        ("whisper-classes", {"input_features": (2, 16, 100)}, (2, 2)),
        ("wav2vec2", {"input_values": (2, 16000)}, (2, 798, WORDS)),
        ("bert-classes", {"input_ids": (2, 128)}, (2, 2)),
        ("vit-gray", {"pixel_values": (2, 1, 32, 32)}, (2, 2)),
    ],
)
def test_other_heads_run_on_inputs_of_their_configuration(saved, name, inputs, output):
    network = load(str(saved(name)))
    assert (network.kind, network.default_task) == ("tensor", None)
    assert type(network.module).__name__ == MADE[name][0]
    batch = network.example(InputShape(batch=2))
    assert {key: tuple(tensor.shape) for key, tensor in batch.items()} == inputs
    with torch.no_grad():
        assert network.forward(batch).shape == output
    assert trace(network, batch).sites


def test_a_head_whose_inputs_are_unknown_is_refused_with_the_way_out(saved):
    with pytest.raises(InputError, match=r"CLIPModel does not run on inputs .* package.module:callable"):
        load(str(saved("clip")))
