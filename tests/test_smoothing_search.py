"""The search of migration strengths: incremental trials against fresh ones, and what decides."""

import pytest
import torch

from bitwright.methods.integer import smooth
from bitwright.methods.integer.observe import observe_ranges
from bitwright.methods.integer.options import IntegerOptions
from bitwright.methods.integer.rules import Rules
from bitwright.networks.network import Network
from bitwright.networks.smoothing import smoothing_groups, untie


@pytest.fixture
def tiny_llama():
    llama = pytest.importorskip("transformers.models.llama", reason="needs transformers (the zoo extra)")
    torch.manual_seed(0)
    config = llama.LlamaConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=4,
        intermediate_size=32,
        vocab_size=50,
    )
    network = Network(
        name="tiny",
        kind="language",
        module=llama.LlamaForCausalLM(config).eval(),
        run=lambda module, batch: module(**batch, use_cache=False)[0],
    )
    untie(network.module)
    return network, [{"input_ids": torch.randint(0, 50, (2, 9))} for _ in range(3)]


def ready(network, batches):
    groups = smoothing_groups(network, batches[0])
    ranges = observe_ranges(network, batches[:1])
    rules = Rules.of(IntegerOptions(), [seen.site for seen in ranges.values()])
    return groups, ranges, rules


def test_a_trial_after_others_judges_as_a_fresh_one(tiny_llama):
    network, batches = tiny_llama
    groups, ranges, rules = ready(network, batches)
    before = {name: tensor.clone() for name, tensor in network.module.state_dict().items()}
    peaks = smooth.peaks_of(groups, ranges)
    kinds = set(smooth.kinds_of(groups).values())
    one = next(kind for kind in sorted(kinds) if "down_proj" in kind)
    sequence = [dict.fromkeys(kinds), dict.fromkeys(kinds, 0.5), {**dict.fromkeys(kinds, 0.7), one: None}]
    used = smooth.Trial(network, batches[1:], groups, ranges, rules)
    for strengths in sequence:
        factors = smooth.all_factors(groups, peaks, strengths)
        incremental = used.judge(factors)
        used_weights = {name: tensor.clone() for name, tensor in network.module.state_dict().items()}
        used.restore()
        fresh = smooth.Trial(network, batches[1:], groups, ranges, rules)
        assert incremental == pytest.approx(fresh.judge(factors), rel=1e-2)  # scaled once instead of twice
        fresh.restore()
        network.module.load_state_dict(used_weights)
    used.restore()
    for name, tensor in network.module.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_a_gain_below_a_tenth_changes_nothing(tiny_llama):
    network, batches = tiny_llama
    groups, ranges, _ = ready(network, batches)
    peaks = smooth.peaks_of(groups, ranges)
    assert not any(smooth.search(groups, peaks, lambda factors: 0.91 if factors else 1.0).values())
    assert all(smooth.search(groups, peaks, lambda factors: 0.89 if factors else 1.0).values())


def test_the_last_block_is_a_kind_of_its_own(tiny_llama):
    network, batches = tiny_llama
    groups, _, _ = ready(network, batches)
    kinds = smooth.kinds_of(groups)
    assert kinds["model.layers.0.mlp.down_proj"] == "model.layers.*.mlp.down_proj"
    assert kinds["model.layers.1.mlp.down_proj"] == "model.layers.1.mlp.down_proj"
