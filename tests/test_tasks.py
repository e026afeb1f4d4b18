"""Tasks on toy networks: scores that are known, intervals that behave, samples that never mix, errors that name."""

import dataclasses
import importlib.util
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bitwright.errors import InputError
from bitwright.networks.network import Network
from bitwright.tasks import (
    Interval,
    TaskBatch,
    bootstrap,
    default_samples,
    get_task,
    paired_bootstrap,
    photographs,
    prose,
    statistics,
    summarise,
    task_names,
)
from bitwright.tasks.fidelity import compare_positions, fidelity
from bitwright.tasks.perplexity import perplexity
from bitwright.tasks.pictures import open_picture
from bitwright.tasks.samples import default_batches
from bitwright.tasks.statistics import mean_of, score_once, spearman

VOCABULARY = 128
BLOCKED = "2048 tokens in 32 windows of 64 (32 independent blocks of 64 tokens)"
needs_photographs = pytest.mark.skipif(
    importlib.util.find_spec("skimage") is None, reason="scikit-image, of the zoo extra, is not installed"
)


def shared_data(name: str) -> Path:
    beside = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    path = Path(os.environ.get("BITWRIGHT_SHARED_DATA", beside)) / name
    if not path.exists():
        pytest.skip(f"labelled sample {name} is not there: set BITWRIGHT_SHARED_DATA to the folder that has it")
    return path


class Characters:
    """A tokenizer as Hugging Face's are called: a token per character."""

    def __call__(self, text, **options):
        if isinstance(text, str):
            return {"input_ids": [ord(c) % VOCABULARY for c in text]}
        rows = [torch.tensor([ord(c) % VOCABULARY for c in t[: options["max_length"]]]) for t in text]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        return {"input_ids": ids, "attention_mask": (ids > 0).long(), "token_type_ids": torch.zeros_like(ids)}


class Lookup(torch.nn.Module):
    """Logits of each token from a table; with `pool`, one embedding per sentence."""

    def __init__(self, *, table: torch.Tensor, pool: bool = False):
        super().__init__()
        self.table, self.pool = torch.nn.Parameter(table), pool

    def forward(self, input_ids, attention_mask):
        values = self.table[input_ids]
        return (values * attention_mask[..., None]).sum(dim=1) if self.pool else values


class Pooled(torch.nn.Module):
    def __init__(self, *, classes: int):
        super().__init__()
        self.linear = torch.nn.Linear(3, classes)

    def forward(self, pixels):
        return self.linear(pixels.mean(dim=(2, 3)))


def preprocess(image: Image.Image) -> torch.Tensor:
    pixels = np.array(image.convert("RGB").resize((8, 8)), dtype=np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)


def text_example(shape):
    ids = torch.ones(shape.batch, shape.sequence_length or 8, dtype=torch.int64)
    return {"input_ids": ids, "attention_mask": ids}


def language(table: torch.Tensor | None = None, window: int = 64) -> Network:
    table = torch.zeros(VOCABULARY, VOCABULARY) if table is None else table
    tools = {"tokenizer": Characters(), "sequence_length": window}
    return Network(
        name="toy-lm", kind="language", module=Lookup(table=table), tools=tools, example=text_example,
        default_task="perplexity",
    )  # fmt: skip


def speaking_language() -> Network:
    return language(torch.randn(VOCABULARY, VOCABULARY, generator=torch.Generator().manual_seed(2)))


def sentence() -> Network:
    table = torch.randn(VOCABULARY, 16, generator=torch.Generator().manual_seed(0))
    return Network(
        name="toy-encoder",
        kind="sentence",
        module=Lookup(table=table, pool=True),
        tools={"tokenizer": Characters(), "sequence_length": 64},
        example=text_example,
    )


def image(classes: int = 4) -> Network:
    def example(shape):
        return {"pixels": torch.zeros(shape.batch, 3, 8, 8)}

    torch.manual_seed(0)
    return Network(
        name="toy-cnn", kind="image", module=Pooled(classes=classes), tools={"preprocess": preprocess}, example=example
    )


def tensor() -> Network:
    def example(shape):
        return {"input": torch.linspace(1, 5, 6 * shape.batch).reshape(shape.batch, 6)}

    torch.manual_seed(0)
    return Network(name="toy-mlp", kind="tensor", module=torch.nn.Linear(6, 5), example=example)


def run(task, network, *, change=lambda y: y, batch_size=None):
    """Statistics of the changed and of the float outputs, as an evaluation collects them."""
    changed, plain = [], []
    with torch.no_grad():
        for batch in task.batches(network, batch_size=batch_size):
            output = network.forward(batch.inputs)
            changed.append(task.collect(batch, change(output), output))
            plain.append(task.collect(batch, output, output))
    return np.concatenate(changed), np.concatenate(plain)


def folder_of_images(folder: Path, names) -> Path:
    folder.mkdir(exist_ok=True)
    for i, name in enumerate(names):
        Image.new("RGB", (12, 10), (20 * i % 256, 100, 250 - 20 * i % 256)).save(folder / name)
    return folder


# Spearman's correlation


def slow_ranks(values):
    return [sum(w < v for w in values) + (sum(w == v for w in values) + 1) / 2 for v in values]


def slow_spearman(pairs):
    a, b = (np.array(slow_ranks(column)) for column in zip(*pairs, strict=True))
    a, b = a - a.mean(), b - b.mean()
    spread = math.sqrt((a * a).sum() * (b * b).sum())
    return (a * b).sum() / spread if spread else 0.0


small_pairs = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12)


@given(pairs=small_pairs, data=st.data())
def test_spearman_equals_slow_twin_for_any_resample(pairs, data):
    n = len(pairs)
    drawn = data.draw(st.lists(st.integers(0, n - 1), min_size=n, max_size=n))
    counts = np.bincount(drawn, minlength=n)[None].astype(float)
    fast = spearman(np.array(pairs, dtype=float), counts)[0]
    assert fast == pytest.approx(slow_spearman([pairs[i] for i in drawn]), abs=1e-12)


def test_spearman_of_known_values():
    # Textbook form without ties: 1 - 6 sum d^2 / (n (n^2 - 1)); here sum d^2 = 4 + 4 + 1 + 1 = 10, n = 5.
    pairs = np.array([[1, 3], [2, 2], [3, 1], [4, 5], [5, 4]], dtype=float)
    assert score_once(pairs, spearman) == pytest.approx(1 - 6 * 10 / (5 * 24))
    assert score_once(np.array([[1.0, 8], [2, 4], [3, 2]]), spearman) == -1
    assert score_once(np.array([[1.0, 1], [1, 2]]), spearman) == 0
    assert math.isnan(score_once(np.array([[1.0, np.nan], [1, 2]]), spearman))


# Intervals

columns = st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=1, max_size=30).map(np.array)


@settings(max_examples=40)
@given(quantized=columns, score=st.sampled_from([mean_of(0), spearman]), seed=st.integers(0, 3))
def test_identical_networks_differ_by_exactly_zero(quantized, score, seed):
    difference, interval = paired_bootstrap(quantized, quantized.copy(), score, resamples=50, seed=seed)
    assert difference == 0
    assert interval.low <= 0 <= interval.high
    assert not interval.separates()
    if len(quantized) > 1:
        assert interval.low == interval.high == 0


@settings(max_examples=40)
@given(data=st.data(), both=columns, score=st.sampled_from([mean_of(0), spearman]))
def test_interval_contains_the_estimate(data, both, score):
    other = np.array(data.draw(st.lists(st.floats(-9, 9), min_size=len(both), max_size=len(both))))
    changed = np.stack([other, both[:, 1]], axis=1)
    difference, interval = paired_bootstrap(changed, both, score, resamples=60)
    assert interval.low <= difference <= interval.high
    assert difference == pytest.approx(score_once(changed, score) - score_once(both, score))


def test_a_shift_is_separated_though_the_samples_vary_more():
    values = np.random.default_rng(0).normal(0, 10, size=(300, 1))
    difference, interval = paired_bootstrap(values + 0.5, values, mean_of(0))
    assert difference == pytest.approx(0.5)
    assert interval.low == pytest.approx(0.5)
    assert interval.separates()
    assert bootstrap(values + 0.5, mean_of(0)).high - bootstrap(values + 0.5, mean_of(0)).low > 1


def test_interval_of_a_mean_agrees_with_the_normal_approximation():
    values = np.random.default_rng(1).normal(5, 2, size=(1000, 1))
    interval = bootstrap(values, mean_of(0), resamples=4000)
    half = 1.96 * values.std() / math.sqrt(1000)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.012)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.012)


def test_interval_covers_about_95_percent():
    held = 0
    for seed in range(300):
        values = np.random.default_rng(seed).exponential(1, size=(80, 1))
        interval = bootstrap(values, mean_of(0), resamples=300, seed=seed)
        held += interval.low <= 1 <= interval.high
    assert 0.88 <= held / 300 <= 0.98  # a percentile interval of 80 skewed samples is a little too narrow


def test_one_sample_says_nothing_and_none_is_an_error():
    difference, interval = paired_bootstrap(np.array([[2.0]]), np.array([[1.0]]), mean_of(0))
    assert (difference, interval.low, interval.high) == (1, -math.inf, math.inf)
    assert not interval.separates()
    with pytest.raises(ValueError, match="no samples"):
        bootstrap(np.empty((0, 1)), mean_of(0))
    with pytest.raises(ValueError, match="not of the same samples"):
        paired_bootstrap(np.ones((3, 1)), np.ones((2, 1)), mean_of(0))


def test_draws_do_not_depend_on_how_many_fit_in_memory(monkeypatch):
    groups = statistics._Groups.of(7, None)
    together = np.concatenate(list(statistics._draws(groups, 50, 3)))
    monkeypatch.setattr(statistics, "_ELEMENTS_AT_ONCE", 40)
    assert np.array_equal(together, np.concatenate(list(statistics._draws(groups, 50, 3))))
    assert (together.sum(axis=1) == 7).all()


def test_separates():
    assert Interval(low=0.1, high=2).separates()
    assert Interval(low=-3, high=-0.1).separates()
    assert not Interval(low=-1, high=1).separates()
    assert not Interval(low=0, high=1).separates()
    assert not Interval(low=math.nan, high=math.nan).separates()


# Perplexity


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("The quick brown fox jumps over the lazy dog. " * 60, encoding="utf-8")
    return path


def test_perplexity_of_a_uniform_model_is_the_vocabulary(text):
    network = language()
    task = get_task("perplexity", network=network, data=text)
    quantized, plain = run(task, network, batch_size=3)
    score = summarise(task, quantized, plain, calibrated_on="nothing", units=np.repeat(np.arange(32), 2))
    assert score.value == pytest.approx(VOCABULARY, rel=1e-12)
    assert (score.difference, score.sample_count) == (0, BLOCKED)
    assert score.measures[0].value == 1


def test_perplexity_counts_every_token_but_each_windows_first(text):
    table = torch.randn(VOCABULARY, VOCABULARY, generator=torch.Generator().manual_seed(1))
    network = language(table, window=50)
    task = perplexity(network=network, data=text, limit=120)
    assert task.sample_unit == "tokens in 2 windows of 50"
    rows, _ = run(task, network)
    ids = [ord(c) % VOCABULARY for c in text.read_text(encoding="utf-8")[:100]]
    nats = [
        float(torch.logsumexp(table[ids[i - 1]].double(), 0) - table[ids[i - 1], ids[i]].double())
        for i in range(100) if i % 50
    ]  # fmt: skip
    assert score_once(rows, task.score) == pytest.approx(math.exp(sum(nats) / 98), rel=1e-12)
    assert rows[:, 1].tolist() == [32, 17, 32, 17]
    assert np.allclose(run(task, network, batch_size=2)[0], rows, rtol=1e-12)


def test_perplexity_errors(tmp_path, text):
    network = language()
    empty = tmp_path / "empty.txt"
    empty.write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="at least 2 tokens"):
        perplexity(network=network, data=empty)
    with pytest.raises(InputError, match=r"cannot read the text .*absent.txt: No such file"):
        perplexity(network=network, data=tmp_path / "absent.txt")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        perplexity(network=network, data=tmp_path / "binary.txt")
    with pytest.raises(InputError, match="without a tokenizer"):
        perplexity(network=dataclasses.replace(network, tools={}), data=text)


# Top-1


def test_top1_scores_each_image(tmp_path):
    folder = folder_of_images(tmp_path / "images", ["0001_b.png", "0000_a.jpg", "0003_c.jpeg", "0002_d.PNG"])
    (folder / "notes.txt").write_text("not an image", encoding="utf-8")
    network = image()
    task = get_task("top1", network=network, data=folder)
    assert task.labels == (0, 1, 2, 3)
    assert [path.name for path in task.files] == ["0000_a.jpg", "0001_b.png", "0002_d.PNG", "0003_c.jpeg"]
    batches = list(task.batches(network, batch_size=3))
    assert [len(batch.labels) for batch in batches] == [3, 1]
    assert batches[0].inputs["pixels"].shape == (3, 3, 8, 8)
    logits = torch.eye(4)[[0, 1, 0]]
    logits[1, 1] = math.nan
    reference = torch.eye(4)[[0, 1, 2]]
    found = task.collect(batches[0], logits, reference)
    divergence = (math.e - 1) / (math.e + 3)  # p = (1, 1, e, 1) / (e + 3), q the same with e first: sum p log(p / q)
    assert found[[0, 2], 3].tolist() == pytest.approx([0, divergence])
    assert found[:, 0].tolist() == [1, 0, 0]
    assert found[:, 1].tolist() == [1, 1, 1]
    assert found[[0, 2], 2].tolist() == [0, 2]
    assert math.isnan(found[1, 2])
    assert score_once(np.array([[1.0], [0], [0], [1]]), task.score) == 50


def test_top1_limit_is_evenly_spaced_over_classes(tmp_path):
    folder = folder_of_images(tmp_path / "images", [f"{i}_x.png" for i in range(12)])
    task = get_task("top1", network=image(12), data=folder, limit=4)
    assert task.labels == (0, 3, 6, 9)
    assert task.tested_on == "4 of the 12 images in images"


def test_top1_errors(tmp_path):
    network = image()
    with pytest.raises(InputError, match="is not a folder"):
        get_task("top1", network=network, data=tmp_path / "absent")
    folder = folder_of_images(tmp_path / "images", [])
    with pytest.raises(InputError, match=r"no \.jpg or \.png images"):
        get_task("top1", network=network, data=folder)
    folder_of_images(folder, ["0000_a.png", "tench.png"])
    with pytest.raises(InputError, match=r"tench\.png does not start with a class id; expected a name like"):
        get_task("top1", network=network, data=folder)
    (folder / "tench.png").rename(folder / "0009_tench.png")
    task = get_task("top1", network=network, data=folder)
    batch = next(task.batches(network))
    with pytest.raises(InputError, match="class id 9"):
        task.collect(batch, output := network.forward(batch.inputs).detach(), output)
    (folder / "0009_tench.png").write_text("no image", encoding="utf-8")
    with pytest.raises(InputError, match=r"0009_tench\.png cannot be read"):
        get_task("top1", network=network, data=folder)


def test_a_very_narrow_image_is_refused(tmp_path):
    """Resized by its short side, one of 1 x 8,000 pixels would have half a billion."""
    for size in ((1, 8000), (64 * 33, 64)):
        Image.new("RGB", size).save(tmp_path / "a.png")
        with pytest.raises(
            InputError, match=rf"a\.png has {size[0]:,} x {size[1]:,} pixels, and one side may be 32 times"
        ):
            open_picture(tmp_path / "a.png")
    Image.new("RGB", (64 * 32, 64)).save(tmp_path / "a.png")
    open_picture(tmp_path / "a.png").close()


def test_a_damaged_image_is_named(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "0000_a.png")
    whole = (folder / "0000_a.png").read_bytes()
    (folder / "0000_a.png").write_bytes(whole[: len(whole) // 2])
    network = image()
    with pytest.raises(InputError, match=r"0000_a\.png is damaged"):
        list(get_task("top1", network=network, data=folder).batches(network))


# Sentence similarity


def pair_line(score, first="A cat.", second="A dog."):
    return f"genre\tfile\t2012\t0001\t{score}\t{first}\t{second}"


def test_sts_reads_unquoted_pairs_and_ranks_them(tmp_path):
    path = tmp_path / "pairs.tsv"
    lines = [pair_line(5, 'He said "no', 'He said "no'), pair_line(2.5, "aaab", "aabb"), pair_line(0, "zzz", "MMM")]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    network = sentence()
    task = get_task("sts", network=network, data=path)
    rows, _ = run(task, network, batch_size=2)
    assert rows[:, 1].tolist() == [5, 2.5, 0]
    assert rows[0, 0] == pytest.approx(1)
    assert score_once(rows, task.score) == 1
    assert task.tested_on == "3 of the 3 sentence pairs in pairs.tsv"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a\tb\tc", r"pairs.tsv line 3 has 3 tab-separated fields; expected at least 7"),
        (pair_line("high"), "line 3 has the score 'high'"),
        (pair_line("5.5"), "expected a number from 0 to 5"),
        (pair_line("nan"), "expected a number from 0 to 5"),
        (pair_line(1, second=" "), "line 3 has an empty sentence"),
    ],
)
def test_sts_names_the_malformed_line(tmp_path, line, message):
    path = tmp_path / "pairs.tsv"
    path.write_text("\n".join([pair_line(1), pair_line(2), line]), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        get_task("sts", network=sentence(), data=path)


def test_sts_needs_two_pairs(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text(pair_line(1), encoding="utf-8")
    with pytest.raises(InputError, match="needs 2 pairs"):
        get_task("sts", network=sentence(), data=path)


# Fidelity


@given(scale=st.floats(0.001, 0.5))
def test_sqnr_of_a_scaled_output_is_known(scale):
    network = tensor()
    task = fidelity(network=network, limit=5)
    rows, plain = run(task, network, change=lambda y: y * (1 + scale))
    score = summarise(task, rows, None, calibrated_on="nothing", resamples=20)
    assert score.value == pytest.approx(-20 * math.log10(scale), abs=1e-3)
    assert score.measures[0].value == pytest.approx(1)
    assert score.difference is None
    assert score_once(plain, task.score) == math.inf
    assert bootstrap(plain, task.score, resamples=20).low == math.inf


def test_kl_and_agreement_of_known_distributions():
    p, q = torch.tensor([[0.5, 0.25, 0.25]]), torch.tensor([[0.25, 0.5, 0.25]])
    signal, noise, cosine, positions, kl, agreement = compare_positions(q.log(), p.log(), logits=True)[0]
    assert kl == pytest.approx(0.25 * math.log(2))
    assert (positions, agreement) == (1, 0)
    assert noise == pytest.approx(2 * math.log(2) ** 2)
    assert signal == pytest.approx(math.log(2) ** 2 * 9)
    assert cosine == pytest.approx(8 / 9)
    assert compare_positions(torch.zeros(1, 3), torch.zeros(1, 3), logits=False)[0].tolist() == [0, 0, 1, 1]


def test_nan_outputs_never_look_good():
    rows = compare_positions(torch.full((2, 3), math.nan), torch.randn(2, 3), logits=True)
    assert rows[:, 5].tolist() == [0, 0]
    assert np.isnan(rows[:, [1, 2, 4]]).all()


@pytest.mark.parametrize("make", [speaking_language, sentence, tensor, pytest.param(image, marks=needs_photographs)])
def test_fidelity_fits_every_kind(make):
    network = make()
    task = get_task(None, network=network, limit=128 if network.kind == "language" else 6)
    generator = torch.Generator().manual_seed(0)
    rows, _ = run(
        task, network, change=lambda y: y + 0.01 * torch.randn(y.shape, generator=generator), batch_size=4
    )  # fmt: skip
    score = summarise(task, rows, None, calibrated_on="nothing")
    measures = {measure.name: measure for measure in score.measures}
    assert ("KL divergence" in measures) == (network.kind in {"image", "language"})
    assert all(measure.interval.low <= measure.value <= measure.interval.high for measure in score.measures)
    assert len(rows) == {"language": 4}.get(network.kind, 6)
    assert score.samples == {"language": 128}.get(network.kind, 6)


def test_fidelity_needs_outputs_of_one_shape():
    task = fidelity(network=tensor())
    batch = TaskBatch(inputs={})
    with pytest.raises(InputError, match="differ in shape"):
        task.collect(batch, torch.ones(2, 3), torch.ones(2, 4))


# Samples that are always there


def test_no_sentence_is_both_for_calibration_and_for_tests():
    calibration, test = prose.sentences(test=False), prose.sentences(test=True)
    assert set(calibration).isdisjoint(test)
    assert len(calibration) > 500
    assert len(test) > 300
    assert sum(len(p) for p in prose.paragraphs(test=True)) > 2048 * 4 * 2


def test_no_photographed_scene_is_both_for_calibration_and_for_tests():
    scenes = [
        {name.split(".")[0].split("_")[0] for name in names}
        for names in (photographs.CALIBRATION_PHOTOGRAPHS, photographs.TEST_PHOTOGRAPHS)
    ]
    assert scenes[0].isdisjoint(scenes[1])


@needs_photographs
def test_every_named_photograph_is_in_the_wheel():
    names = photographs.CALIBRATION_PHOTOGRAPHS + photographs.TEST_PHOTOGRAPHS
    assert [path.name for path in photographs.photographs(names)] == list(names)


@needs_photographs
def test_crops_are_square_varied_and_repeatable():
    files = photographs.photographs(photographs.CALIBRATION_PHOTOGRAPHS)
    first, again, other = ([np.array(c) for c in photographs.crops(files, count=12, seed=s)] for s in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(a.shape == b.shape for a, b in zip(first, other, strict=True))
    assert all(c.shape[0] == c.shape[1] >= 119 and c.shape[2] == 3 for c in first)
    assert len({c.shape for c in first}) > 6


def test_missing_photographs_say_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"bitwright\[zoo\]"):
        photographs.photographs(photographs.TEST_PHOTOGRAPHS)


@pytest.mark.parametrize("make", [language, sentence, tensor, pytest.param(image, marks=needs_photographs)])
def test_default_samples_are_repeatable_and_disjoint_from_the_tests(make):
    network = make()
    samples, again, other = (default_samples(network, count=10, seed=s, batch_size=4) for s in (0, 0, 1))
    assert samples.count == sum(len(next(iter(batch.values()))) for batch in samples.batches) == 10
    assert samples.description == again.description != other.description
    assert all(torch.equal(a[k], b[k]) for a, b in zip(samples.batches, again.batches, strict=True) for k in a)

    def items(batches):
        return {tuple(row.flatten().tolist()) for batch in batches for row in next(iter(batch.values()))}

    test = items(default_batches(network, count=20, seed=0, test=True, batch_size=4))
    assert items(samples.batches) != items(other.batches)
    assert len(test) == 20
    assert items(samples.batches).isdisjoint(test)


def test_text_has_only_so_many_samples():
    network = language(window=512)
    samples = default_samples(network, count=10**6)
    assert 64 < samples.count < 10**4
    assert samples.description.startswith(f"{samples.count} windows of 512 tokens")
    with pytest.raises(InputError, match="longer than"):
        default_samples(language(window=10**7), count=1)


def test_noise_has_the_examples_mean_and_deviation():
    batches = default_samples(tensor(), count=4000, batch_size=4000).batches
    example = torch.linspace(1, 5, 6 * 4000)
    values = next(iter(batches))["input"]
    assert float(values.mean()) == pytest.approx(3, abs=0.05)
    assert float(values.std()) == pytest.approx(float(example.std()), abs=0.05)


def test_calibration_never_reads_the_users_data(text):
    network = language()
    task = get_task("perplexity", network=network, data=text)
    samples = task.calibration(network, count=3, seed=0)
    tested = {tuple(row) for batch in task.batches(network) for row in batch.inputs["input_ids"].tolist()}
    assert tested.isdisjoint(tuple(row) for batch in samples.batches for row in batch["input_ids"].tolist())
    assert "pydoc_data.topics" in samples.description


# The list of tasks


def test_tasks_are_found_by_name_or_by_what_fits(text):
    assert task_names() == ["fidelity", "perplexity", "sts", "top1"]
    assert get_task(None, network=language()).name == "fidelity"
    assert get_task(None, network=language(), data=text).name == "perplexity"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("perplexty", {}, "unknown task 'perplexty'. Did you mean 'perplexity'"),
        ("top1", {}, "top1 judges networks of kind image; toy-lm is of kind language, which fits: fidelity, perpl"),
        ("perplexity", {}, "needs a UTF-8 text file: give it with --data"),
        ("fidelity", {"data": Path("x")}, "brings its own samples and does not read x"),
        ("fidelity", {"limit": 0}, "must be at least 1"),
    ],
)
def test_get_task_errors(name, options, message):
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        get_task(name, network=language(), **options)


def test_networks_that_cannot_run_are_refused():
    network = language()
    meta = dataclasses.replace(network, module=Lookup(table=torch.zeros(2, 2, device="meta")))
    with pytest.raises(InputError, match="shapes but no weights"):
        get_task("fidelity", network=meta)
    with pytest.raises(InputError, match="no task"):
        get_task("fidelity", network=Network(name="products", kind="gemms"))


# Labelled samples beside the project


@pytest.mark.shared
def test_labelled_images_are_read():
    task = get_task("top1", network=image(1000), data=shared_data("imagenet_sample"), limit=20)
    batch = next(task.batches(image(1000), batch_size=20))
    assert batch.inputs["pixels"].shape == (20, 3, 8, 8)
    assert batch.labels.tolist() == sorted(batch.labels.tolist())
    assert len(set(batch.labels.tolist())) == 20


@pytest.mark.shared
def test_labelled_pairs_are_read():
    network = sentence()
    task = get_task("sts", network=network, data=shared_data("stsb_sample.tsv"))
    assert task.samples == 690
    rows, _ = run(task, network, batch_size=64)
    # Letters in common already say something about meaning; a score near 0 would mean pairs are mixed up.
    assert 0.2 < score_once(rows, task.score) < 0.9
