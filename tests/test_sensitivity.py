"""Sensitivity to noise: against closed forms and against noise that is really added."""

import dataclasses

import pytest
import torch
from torch import nn

from bitwright.methods.sensitivity import noise_sensitivity
from bitwright.networks.mode import SiteMode
from bitwright.testing.networks import toy_networks
from toys import network_of, normal


class TestClosedForms:
    def test_a_linear_output_grows_by_the_squares_of_its_weights(self):
        # y = W x: noise of variance v on x adds v * |W|^2 per row to the squared error
        torch.manual_seed(0)
        layer = nn.Linear(6, 4, bias=False)
        x = normal(50, 6)
        network = network_of(nn.Sequential(layer), x)
        found = noise_sensitivity(network, [{"input_0": x}], logits=False)
        output = layer(x).detach()
        expected = 50 * float(layer.weight.detach().square().sum()) / float(output.square().sum())
        assert found["0"] == pytest.approx(expected, rel=0.15)  # random signs, 200 of them

    def test_logits_give_the_fisher_information(self):
        # of logits z = x: sum_i E_y[(1[y = i] - p_i)^2] = 1 - sum p_i^2, and half of it per row
        layer = nn.Linear(5, 5, bias=False)
        nn.init.eye_(layer.weight)
        x = normal(4000, 5)
        found = noise_sensitivity(network_of(nn.Sequential(layer), x), [{"input_0": x}], logits=True)
        p = x.softmax(-1)
        assert found["0"] == pytest.approx(0.5 * float((1 - p.square().sum(-1)).mean()), rel=0.05)


class TestNoise:
    @pytest.mark.parametrize("name", ["linear", "conv", "attention"])
    def test_it_predicts_what_added_noise_costs(self, name):
        network, samples = toy_networks()[name]
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            reference = network.forward(samples[0])
        draws = [noise_sensitivity(network, samples[:1], logits=False, seed=seed) for seed in range(60)]
        variance = 1e-5
        for site in draws[0]:
            predicted = variance * sum(draw[site] for draw in draws) / len(draws)
            errors = []
            for _ in range(60):
                with torch.no_grad(), SiteMode(network.module, noisy(site, variance, generator)):
                    output = network.forward(samples[0])
                errors.append(float((output - reference).square().sum() / reference.square().sum()))
            assert predicted == pytest.approx(sum(errors) / len(errors), rel=0.4)

    def test_parameters_and_their_gradients_are_left_as_they_were(self):
        network, samples = toy_networks()["linear"]
        wanted = [parameter.requires_grad for parameter in network.module.parameters()]
        assert any(wanted)
        noise_sensitivity(network, samples, logits=True)
        assert [parameter.requires_grad for parameter in network.module.parameters()] == wanted
        assert all(parameter.grad is None for parameter in network.module.parameters())


def noisy(name, variance, generator):
    def handler(site, view):
        if site.name == name:
            noise = torch.randn(view.x.shape, generator=generator) * variance**0.5
            view = dataclasses.replace(view, x=view.x + noise, compute=None)
        return view.float_result()

    return handler
