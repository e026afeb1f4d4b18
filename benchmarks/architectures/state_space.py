"""State-space models, linear recurrences and their hybrids: transformers' classes, and two written out."""

import functools
from typing import Any

import torch
import torch.nn.functional as F
from benchmarks.architectures import Architecture
from benchmarks.architectures.configured import SMALL, configured
from benchmarks.architectures.experts import EXPERTS
from benchmarks.architectures.text import LATENT
from torch import nn

HEADS = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_chunk_size": 8}
DELTA = {
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "layer_types": ["linear_attention", "full_attention"],
}

CONFIGURED = [
    configured(name, "state space", f"{model}ForCausalLM", {**SMALL, **settings})
    for name, model, settings in [
        ("Mamba", "Mamba", {"state_size": 8}),
        ("Mamba 2", "Mamba2", {"state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 1, "chunk_size": 8}),
        ("FalconMamba", "FalconMamba", {"state_size": 8}),
        (
            "RecurrentGemma",
            "RecurrentGemma",
            {"lru_width": 32, "block_types": ["recurrent", "attention"], "attention_window_size": 8},
        ),
        (
            "Jamba",
            "Jamba",
            {**EXPERTS, "attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 8, "use_mamba_kernels": False},
        ),
        ("Bamba", "Bamba", {**HEADS, "attn_layer_indices": [1]}),
        (
            "Zamba",
            "Zamba",
            {
                "n_mamba_heads": 2,
                "mamba_d_state": 8,
                "use_mamba_kernels": False,
                "num_key_value_heads": 4,
                "num_hidden_layers": 3,
                "layers_block_type": ["hybrid", "linear_attention", "hybrid"],
            },
        ),
        (
            "Zamba 2",
            "Zamba2",
            {
                "n_mamba_heads": 8,
                "mamba_d_state": 8,
                "chunk_size": 8,
                "use_mamba_kernels": False,
                "num_key_value_heads": 4,
                "layers_block_type": ["linear_attention", "hybrid"],
            },
        ),
        ("Falcon-H1", "FalconH1", {**HEADS, "mamba_d_ssm": 64}),
        (
            "Granite 4 hybrid",
            "GraniteMoeHybrid",
            {**HEADS, **EXPERTS, "shared_intermediate_size": 16, "layer_types": ["linear_attention", "full_attention"]},
        ),
        (
            "Nemotron-H",
            "NemotronH",
            {
                **EXPERTS,
                "ssm_state_size": 8,
                "mamba_num_heads": 8,
                "mamba_head_dim": 8,
                "n_groups": 1,
                "chunk_size": 8,
                "use_mamba_kernels": False,
                "layers_block_type": ["mamba", "attention", "mlp"],
            },
        ),
        ("Qwen3-Next", "Qwen3Next", {**EXPERTS, **DELTA}),
        ("Qwen3.5", "Qwen3_5", DELTA),
        ("OLMo hybrid", "OlmoHybrid", DELTA),
        (
            "Kimi Linear",
            "KimiLinear",
            {
                **EXPERTS,
                **LATENT,
                "linear_head_dim": 8,
                "linear_num_heads": 4,
                "layer_types": ["linear_attention", "full_attention"],
                "mlp_layer_types": ["dense", "sparse"],
            },
        ),
        ("LFM2", "Lfm2", {"layer_types": ["conv", "full_attention"]}),
        ("LFM2-MoE", "Lfm2Moe", {**EXPERTS, "layer_types": ["conv", "full_attention"], "num_dense_layers": 1}),
    ]
]


class DiagonalStateSpace(nn.Module):
    """S4D (Gu et al. 2022): a diagonal state-space layer, as a convolution by FFT; then a mixing of channels."""

    def __init__(self, channels: int, states: int) -> None:
        super().__init__()
        self.decay = nn.Parameter(torch.rand(channels, states))
        self.frequency = nn.Parameter(torch.arange(states) * torch.pi * torch.ones(channels, 1))
        self.output = nn.Parameter(torch.randn(channels, states, dtype=torch.cfloat))
        self.step = nn.Parameter(torch.full((channels,), 0.05))
        self.mix = nn.Linear(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Sequences [B, T, channels] -> the same."""
        length = x.shape[1]
        rate = torch.complex(-self.decay.exp(), self.frequency) * self.step[:, None]
        powers = torch.exp(rate[..., None] * torch.arange(length))
        kernel = torch.einsum("cn,cnt->ct", self.output * (rate.exp() - 1) / rate, powers).real
        spectrum = torch.fft.rfft(x.mT, 2 * length) * torch.fft.rfft(kernel, 2 * length)
        return self.mix(F.gelu(torch.fft.irfft(spectrum, 2 * length)[..., :length].mT))


class LinearAttention(nn.Module):
    """Retention (Sun et al. 2023) in its recurrent form: a state of outer products that decays."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Sequences [B, T, width] -> the same."""
        q, k, v = self.project(x).unflatten(-1, (3, self.heads, -1)).unbind(2)
        state = x.new_zeros(len(x), self.heads, q.shape[-1], q.shape[-1])
        outputs = []
        for t in range(x.shape[1]):
            state = 0.9 * state + k[:, t, :, :, None] * v[:, t, :, None, :]
            outputs.append((q[:, t, :, None, :] @ state).flatten(1))
        return self.out(torch.stack(outputs, 1))


def _sequences(module: nn.Module) -> tuple[nn.Module, Any]:
    return module, torch.randn(2, 12, 16)


WRITTEN = [
    Architecture(name=name, family="state space", make=functools.partial(lambda layer: _sequences(layer()), layer))
    for name, layer in [
        ("S4D", lambda: nn.Sequential(DiagonalStateSpace(16, 4), DiagonalStateSpace(16, 4))),
        ("RetNet, recurrent", lambda: nn.Sequential(LinearAttention(16, 2), nn.LayerNorm(16), LinearAttention(16, 2))),
    ]
]

ARCHITECTURES = [*CONFIGURED, *WRITTEN]
