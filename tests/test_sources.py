"""Calibration samples: named sources, images made from batch norms, the user's files; refusals in one sentence."""

import math
import os

import numpy as np
import pytest
import torch
from PIL import Image

import bitwright
from bitwright.errors import InputError
from bitwright.networks.network import Network
from bitwright.tasks import photographs, sources
from bitwright.tasks.distilled_images import distilled_images, divergence, listening, pink_noise, total_variation
from bitwright.tasks.given import given_samples, to_calibrate_on
from bitwright.tasks.given_files import MOST_FILES, file_samples
from bitwright.tasks.samples import default_samples
from bitwright.tasks.training_samples import training_samples
from test_tasks import Characters, image, language, needs_photographs, preprocess, sentence, tensor

PIXELS = 16


def normed(*, mean: float = 0.4, variance: float = 0.05) -> Network:
    """Two convolutions with batch norms; the first sees the pixels' channels."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 3, 1, bias=False),
        torch.nn.BatchNorm2d(3),
        torch.nn.Conv2d(3, 8, 3, padding=1),
        torch.nn.BatchNorm2d(8),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
    ).eval()
    module[0].weight.data = torch.eye(3)[..., None, None]
    module[1].running_mean.fill_(mean)
    module[1].running_var.fill_(variance)
    return Network(
        name="toy-normed",
        kind="image",
        module=module,
        run=lambda module, batch: module(batch["pixels"]),
        tools={"preprocess": lambda picture: preprocess(picture.resize((PIXELS, PIXELS)))},
        example=lambda shape: {"pixels": torch.zeros(shape.batch, 3, 8, 8)},
    )


def folder_of(tmp_path, count, size=(12, 9)):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for at in range(count):
        level = np.full((*size, 3), at % 256, dtype=np.uint8)
        Image.fromarray(level).save(folder / f"{at:04}.png")
    return folder


class TestSources:
    def test_no_file_is_named_twice_and_none_is_of_the_test_part(self):
        every = [(each.module, each.folder, name) for each in sources.SOURCES.values() for name in each.files]
        assert len(set(every)) == len(every)
        assert not {name for _, _, name in every} & set(photographs.TEST_PHOTOGRAPHS)

    def test_what_is_not_installed_is_refused_with_the_command_that_installs_it(self, monkeypatch):
        absent = sources.Source(install="apt-get install x", licence="CC0", folder="/nowhere", files=("a.jpg",))
        monkeypatch.setitem(sources.SOURCES, "mate-backgrounds", absent)
        with pytest.raises(InputError, match=r"mate-backgrounds are not .*; install them with: apt-get install x"):
            sources.parse_sources("scikit-image,mate-backgrounds")

    def test_a_misspelt_source_is_named(self):
        assert sources.are_sources("batch-norm,scikit-imge")
        with pytest.raises(InputError, match="Did you mean 'scikit-image'"):
            sources.parse_sources("batch-norm,scikit-imge")

    def test_a_path_is_no_source(self):
        assert not sources.are_sources("./batch-norm")

    @needs_photographs
    def test_photographs_of_several_sources_take_turns(self, monkeypatch, tmp_path):
        folder = folder_of(tmp_path, 2)
        extra = sources.Source(install="x", licence="CC0", folder=str(folder), files=("0000.png", "0001.png"))
        monkeypatch.setitem(sources.SOURCES, "mate-backgrounds", extra)
        files = sources.files_of(("scikit-image", "mate-backgrounds"))
        assert [file.name for file in files[:4]] == ["astronaut.png", "0000.png", "coffee.png", "0001.png"]
        assert len(files) == len(photographs.CALIBRATION_PHOTOGRAPHS) + 2
        said = sources.described(("scikit-image", "mate-backgrounds", "batch-norm"), count=5, seed=3)
        assert said == (
            "3 random crops (seed 3) of the photographs in scikit-image (9), mate-backgrounds (2) and 2 images (seed "
            "3) made from batch-norm statistics"
        )

    @needs_photographs
    def test_the_default_is_the_same_with_and_without_a_name(self):
        plain, named = default_samples(image(), count=3), to_calibrate_on(image(), "scikit-image", "samples")
        assert named == sources.DEFAULT
        assert "of photographs in scikit-image: astronaut, coffee, motorcycle_left" in plain.description

    def test_text_networks_have_no_sources_of_images(self):
        with pytest.raises(InputError, match="sources of images, and toy-encoder is a sentence network"):
            to_calibrate_on(sentence(), "batch-norm", "samples")

    def test_sources_do_not_judge(self):
        with pytest.raises(InputError, match="calibrate and do not judge"):
            given_samples(normed(), "batch-norm")

    def test_plans_say_their_source(self):
        plan = bitwright.calibrate(normed(), "int8", "batch-norm", count=2, options={"smoothing": "none"})
        assert plan.calibrated_on == "2 images (seed 0) made from batch-norm statistics"


class TestImagesFromBatchNorms:
    def test_the_divergence_is_that_of_two_normal_distributions(self):
        """KL(N(m, v) || N(M, V)) against numbers on a grid: the sum of p ln(p / q)."""
        norm = torch.nn.BatchNorm2d(1, eps=0.0)
        norm.running_mean.fill_(0.5)
        norm.running_var.fill_(2.0)
        x = torch.tensor([-1.0, 3.0]).reshape(1, 1, 1, 2)  # mean 1, variance 4
        grid = np.linspace(-30, 30, 400_001)

        def density(mean, variance):
            return np.exp(-((grid - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)

        p, q = density(1, 4), density(0.5, 2)
        expected = float(np.sum(p * np.log(p / q)) * (grid[1] - grid[0]))
        assert float(divergence([(norm.eval(), x)])) == pytest.approx(expected, rel=1e-5)

    def test_statistics_approach_the_targets(self):
        network, found = normed(), {}
        network.module[3] = torch.nn.Identity()  # what is left can be matched: the pixels themselves
        for steps in (0, 60):
            (batch,) = distilled_images(network, count=8, seed=0, batch_size=8, steps=steps)
            with torch.no_grad(), listening(network.module) as heard:
                network.forward(batch)
            found[steps] = float(divergence(heard))
            assert 0 <= float(batch["pixels"].min()) <= float(batch["pixels"].max()) <= 1
        assert found[60] < 0.1 * found[0]

    def test_images_are_repeatable_and_follow_the_seed(self):
        made = [
            torch.cat([b["pixels"] for b in distilled_images(normed(), count=5, seed=s, batch_size=2, steps=2)])
            for s in (1, 1, 2)
        ]
        assert made[0].shape == (5, 3, 8, 8)
        assert torch.equal(made[0], made[1])
        assert not torch.equal(made[0], made[2])

    def test_the_network_stays_as_it_was(self):
        network = normed()
        before = {name: value.clone() for name, value in network.module.state_dict().items()}
        list(distilled_images(network, count=2, seed=0, batch_size=2, steps=2))
        assert all(torch.equal(before[name], value) for name, value in network.module.state_dict().items())
        assert all(parameter.grad is None for parameter in network.module.parameters())
        assert not network.module[1]._forward_pre_hooks

    def test_without_batch_norms_there_are_none(self):
        with pytest.raises(InputError, match="has no batch norms over images"):
            next(distilled_images(image(), count=1, seed=0, batch_size=1))

    def test_the_noise_falls_with_frequency(self):
        noise = pink_noise(torch.Size((4, 3, 32, 32)), torch.Generator().manual_seed(0))
        power = torch.fft.fft2(noise).abs().square().mean(dim=(0, 1))
        assert float(power[0, 1] / power[0, 8]) > 16  # 64 on average
        white = torch.randn(noise.shape, generator=torch.Generator().manual_seed(0))
        assert float(total_variation(noise)) < float(total_variation(white))
        flat = noise.permute(1, 0, 2, 3).reshape(3, -1)
        assert float(torch.corrcoef(flat)[0, 1]) == pytest.approx(0.8, abs=0.15)


class TestFiles:
    def test_a_folder_of_pictures(self, tmp_path):
        folder = folder_of(tmp_path, 5)
        (folder / "notes.txt").write_text("no picture")
        (folder / ".hidden.png").write_text("no picture")
        found = given_samples(image(), folder).samples()
        assert (found.count, found.description) == (5, "5 images in pictures")
        assert sorted(round(255 * float(row[0, 0, 0])) for b in found.batches for row in b["pixels"]) == [0, 1, 2, 3, 4]

    def test_halves_share_nothing(self, tmp_path):
        halves = given_samples(image(), str(folder_of(tmp_path, 5))).halves()
        levels = [{round(255 * float(row[0, 0, 0])) for b in half.batches for row in b["pixels"]} for half in halves]
        assert levels[0] | levels[1] == {0, 1, 2, 3, 4}
        assert not levels[0] & levels[1]
        assert halves[0].description == "1 of the 2 batches of 5 images in pictures (2 inputs)"

    def test_many_are_thinned_out_and_it_says_so(self, tmp_path, monkeypatch):
        monkeypatch.setitem(MOST_FILES, "image", 4)
        found = file_samples(image(), folder_of(tmp_path, 8))
        assert found.described == "4 of the 8 images in pictures"
        assert [round(255 * float(row[0, 0, 0])) for b in found.batches for row in b["pixels"]] == [0, 2, 4, 6]

    def test_a_text_of_sentences_and_one_of_windows(self, tmp_path):
        text = tmp_path / "own.txt"
        text.write_text("One sentence.\n\nAnother one.\nA third.\n" * 30)
        assert file_samples(sentence(), text).described == "90 lines in own.txt"
        assert file_samples(language(window=64), text).described == f"{len(text.read_text()) // 64} windows in own.txt"
        assert Characters()(text.read_text())["input_ids"][:3] == [ord(each) for each in "One"]

    @pytest.mark.parametrize(
        ("make", "match"),
        [
            (lambda folder: folder / "absent", "there is no .*absent; give a folder"),
            (lambda folder: empty(folder / "empty"), "there are no .jpg or .png images"),
            (lambda folder: written(folder / "text.txt", b"x"), "no folder, and toy-cnn is calibrated on a folder"),
            (
                lambda folder: written(folder / "bad" / "a.png", b"\x89PNG\r\n").parent,
                "cannot be read as a JPEG or PNG",
            ),
            (lambda folder: written(folder / "bad" / "P6.jpg", b"P6 1 1 255 abc").parent, "cannot be read as a JPEG"),
            (lambda folder: pipe(folder / "pipes" / "a.jpg").parent, "no regular file"),
            (lambda folder: written(folder / "odd" / "a\x1b[2J\n.jpg", b"").parent, "cannot be read"),
        ],
    )
    def test_hostile_files_are_refused(self, tmp_path, make, match):
        with pytest.raises(InputError, match=match):
            given_samples(image(), make(tmp_path))

    def test_texts_that_are_none(self, tmp_path):
        for content, match in ((b"\xff\xfe\x00", "it is not UTF-8 text"), (b" \n \n", "is empty")):
            with pytest.raises(InputError, match=match):
                file_samples(sentence(), written(tmp_path / "text", content))
        with pytest.raises(InputError, match="one window has 64"):
            file_samples(language(), written(tmp_path / "short", b"short"))
        with pytest.raises(InputError, match="is a folder"):
            file_samples(sentence(), tmp_path)

    def test_networks_that_read_no_files(self, tmp_path):
        with pytest.raises(InputError, match="reads neither pictures nor text"):
            file_samples(tensor(), tmp_path)

    def test_nothing_is_calibrated_on_what_judges(self, tmp_path):
        folder = tmp_path / "labelled"
        folder.mkdir()
        Image.new("RGB", (8, 8)).save(folder / "0001_x.png")
        for given in ({"samples": folder}, {"calibration_samples": str(folder)}):
            with pytest.raises(InputError, match="which the task judges by"):
                bitwright.evaluate(image(), "int8", "top1", folder, **given)


class TestTraining:
    def test_the_callers_files_are_learned_from_and_a_fifth_is_held_out(self, tmp_path):
        network, folder = image(), folder_of(tmp_path, 200)
        found = training_samples(network, given=given_samples(network, folder).samples())
        learned = {round(255 * float(row[0, 0, 0])) for step in range(200) for row in found.stream(step)["pixels"]}
        held = {round(255 * float(row[0, 0, 0])) for b in found.held_out for row in b["pixels"]}
        assert learned | held == set(range(200))
        assert not learned & held
        assert found.description.startswith("11 of the 14 batches of 200 images in pictures")

    def test_one_batch_is_too_few(self, tmp_path):
        network = image()
        with pytest.raises(InputError, match="one batch only"):
            training_samples(network, given=given_samples(network, folder_of(tmp_path, 1)).samples())

    def test_train_takes_samples(self, tmp_path):
        found = bitwright.train(
            normed(), "int8", steps=2, every=1, samples=folder_of(tmp_path, 6), options={"smoothing": "none"}
        )
        assert found.plan.calibrated_on.startswith("6 images in pictures; trained for ")
        with pytest.raises(InputError, match="calibration_count is given"):
            bitwright.train(normed(), "int8", steps=1, samples=tmp_path / "pictures", calibration_count=3)


def empty(folder):
    folder.mkdir()
    return folder


def written(path, content):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def pipe(path):
    path.parent.mkdir(exist_ok=True)
    os.mkfifo(path)
    return path
