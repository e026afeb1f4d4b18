"""Recurrent networks, written out but for RWKV and xLSTM; and networks for time series."""

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from benchmarks.architectures import Architecture
from benchmarks.architectures.configured import SMALL, configured
from torch import nn

Tensor = torch.Tensor


class Language(nn.Module):
    """Embedding, recurrent layers, and a head (Zaremba et al. 2014); `kind` is LSTM, GRU or RNN."""

    def __init__(self, kind: type[nn.RNNBase], *, both_directions: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(99, 16)
        self.recurrent = kind(16, 24, 2, batch_first=True, bidirectional=both_directions)
        self.head = nn.Linear(48 if both_directions else 24, 99)

    def forward(self, ids: Tensor) -> Tensor:
        """Tokens [B, T] -> logits."""
        return self.head(self.recurrent(self.embedding(ids))[0])


class Translator(nn.Module):
    """Encoder and decoder with additive attention (Bahdanau et al. 2014)."""

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(99, 16), nn.Embedding(99, 16)
        self.encoder = nn.GRU(16, 12, batch_first=True, bidirectional=True)
        self.query, self.key, self.score = nn.Linear(24, 16), nn.Linear(24, 16), nn.Linear(16, 1, bias=False)
        self.cell = nn.GRUCell(16 + 24, 24)
        self.head = nn.Linear(24, 99)

    def forward(self, ids: Tensor, decoder_input_ids: Tensor) -> Tensor:
        """Tokens of both languages -> logits."""
        memory, _ = self.encoder(self.source(ids))
        keys, state = self.key(memory), memory[:, -1]
        logits = []
        for token in self.target(decoder_input_ids).unbind(1):
            weights = torch.softmax(self.score(torch.tanh(keys + self.query(state)[:, None])), 1)
            context = torch.bmm(weights.mT, memory)[:, 0]
            state = self.cell(torch.cat([token, context], -1), state)
            logits.append(self.head(state))
        return torch.stack(logits, 1)


class LuongAttention(nn.Module):
    """LSTM encoder and decoder with multiplicative attention (Luong et al. 2015)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(99, 16)
        self.encoder, self.decoder = nn.LSTM(16, 24, batch_first=True), nn.LSTM(16, 24, batch_first=True)
        self.bilinear = nn.Parameter(torch.randn(24, 24) / 5)
        self.combine, self.head = nn.Linear(48, 24), nn.Linear(24, 99)

    def forward(self, ids: Tensor, decoder_input_ids: Tensor) -> Tensor:
        """Tokens of both languages -> logits."""
        memory, state = self.encoder(self.embedding(ids))
        out, _ = self.decoder(self.embedding(decoder_input_ids), state)
        scores = torch.einsum("bqi,ij,bkj->bqk", out, self.bilinear, memory)
        context = torch.einsum("bqk,bkj->bqj", scores.softmax(-1), memory)
        return self.head(torch.tanh(self.combine(torch.cat([out, context], -1))))


class ConvolutionalLstm(nn.Module):
    """ConvLSTM (Shi et al. 2015): gates are convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.Conv2d(3 + 8, 32, 3, padding=1)
        self.head = nn.Conv2d(8, 3, 1)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames [B, T, 3, H, W] -> the next frame."""
        hidden = cell = frames.new_zeros(len(frames), 8, *frames.shape[-2:])
        for frame in frames.unbind(1):
            i, f, g, o = self.gates(torch.cat([frame, hidden], 1)).chunk(4, 1)
            cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
            hidden = torch.sigmoid(o) * torch.tanh(cell)
        return self.head(hidden)


class QuasiRecurrent(nn.Module):
    """QRNN (Bradbury et al. 2016): causal convolutions, and pooling along time."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(99, 16)
        self.convolution = nn.Conv1d(16, 72, 2)
        self.head = nn.Linear(24, 99)

    def forward(self, ids: Tensor) -> Tensor:
        """Tokens -> logits."""
        z, f, o = self.convolution(F.pad(self.embedding(ids).mT, (1, 0))).chunk(3, 1)
        state, outputs = torch.zeros_like(z[..., 0]), []
        for t in range(z.shape[-1]):
            state = f[..., t].sigmoid() * state + (1 - f[..., t].sigmoid()) * z[..., t].tanh()
            outputs.append(o[..., t].sigmoid() * state)
        return self.head(torch.stack(outputs, 1))


class SimpleRecurrentUnit(nn.Module):
    """SRU (Lei et al. 2017): all products before the recurrence."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(16, 64) / 4)
        self.decay = nn.Parameter(torch.randn(2, 16))

    def forward(self, x: Tensor) -> Tensor:
        """Sequences [T, B, 16] -> the same."""
        candidate, forget, reset, highway = (x @ self.weight).chunk(4, -1)
        state, outputs = torch.zeros_like(x[0]), []
        for t in range(len(x)):
            f = torch.sigmoid(forget[t] + self.decay[0] * state)
            r = torch.sigmoid(reset[t] + self.decay[1] * state)
            state = f * state + (1 - f) * candidate[t]
            outputs.append(r * state + (1 - r) * highway[t])
        return torch.stack(outputs)


class MinimalGru(nn.Module):
    """minGRU (Feng et al. 2024): gates from the input alone, scanned in parallel in logarithms."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.candidate, self.out = nn.Linear(16, 24), nn.Linear(16, 24), nn.Linear(24, 16)

    def forward(self, x: Tensor) -> Tensor:
        """Sequences [B, T, 16] -> the same."""
        k = self.gate(x)
        value = F.softplus(self.candidate(x)).log() - F.softplus(-k)
        total = F.pad(-F.softplus(k).cumsum(1), (0, 0, 1, 0))
        state = total[:, 1:] + torch.logcumsumexp(value - total[:, 1:], 1)
        return self.out(state.exp())


class EchoState(nn.Module):
    """Echo state network (Jaeger 2001): a fixed reservoir in buffers, a trained head."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("reservoir", torch.randn(32, 32) / 8)
        self.register_buffer("drive", torch.randn(32, 4) / 2)
        self.head = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Sequences [B, T, 4] -> the next sample."""
        state = x.new_zeros(len(x), 32)
        for sample in x.unbind(1):
            state = torch.tanh(state @ self.reservoir.T + F.linear(sample, self.drive))
        return self.head(state)


class MemoryCell(nn.Module):
    """Neural Turing machine's head (Graves et al. 2014): content addressing, reading and writing by products."""

    def __init__(self) -> None:
        super().__init__()
        self.controller = nn.LSTMCell(8 + 12, 24)
        self.interface, self.head = nn.Linear(24, 3 * 12), nn.Linear(24 + 12, 8)

    def forward(self, x: Tensor) -> Tensor:
        """Sequences [B, T, 8] -> the last output."""
        memory, read, state = x.new_full((len(x), 6, 12), 0.1), x.new_zeros(len(x), 12), None
        for sample in x.unbind(1):
            state = self.controller(torch.cat([sample, read], -1), state)
            key, erase, add = self.interface(state[0]).chunk(3, -1)
            cosine = torch.matmul(F.normalize(memory, dim=-1), F.normalize(key, dim=-1)[..., None])
            weights = cosine.softmax(1)
            memory = memory * (1 - weights * erase.sigmoid()[:, None]) + weights @ add[:, None]
            read = (weights.mT @ memory)[:, 0]
        return self.head(torch.cat([state[0], read], -1))


class Speech(nn.Module):
    """Deep Speech 2 (Amodei et al. 2015): convolutions, recurrent layers both ways, a head for CTC."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, 4, (11, 5), (2, 2), (5, 2)),
            nn.BatchNorm2d(4),
            nn.Hardtanh(0, 20),
            nn.Conv2d(4, 4, (5, 3), (2, 1), (2, 1)),
            nn.BatchNorm2d(4),
            nn.Hardtanh(0, 20),
        )
        self.recurrent = nn.GRU(4 * 4, 12, 2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(24, 30)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Spectrograms [B, 1, 16, T] -> logits [B, T / 2, 30]."""
        features = self.convolutions(spectrogram).flatten(1, 2).mT
        return self.head(self.recurrent(features)[0]).log_softmax(-1)


class TreeLstm(nn.Module):
    """Child-sum Tree-LSTM (Tai et al. 2015) over a complete binary tree."""

    def __init__(self) -> None:
        super().__init__()
        self.gates, self.recurrent = nn.Linear(8, 36), nn.Linear(12, 36, bias=False)
        self.forget, self.recurrent_forget = nn.Linear(8, 12), nn.Linear(12, 12, bias=False)

    def forward(self, leaves: Tensor) -> Tensor:
        """Leaves [2^depth, 8] -> the root's state."""
        hidden, cell = torch.zeros(len(leaves), 2, 12), torch.zeros(len(leaves), 2, 12)
        nodes = leaves
        while True:
            i, o, u = (self.gates(nodes) + self.recurrent(hidden.sum(1))).chunk(3, -1)
            f = torch.sigmoid(self.forget(nodes)[:, None] + self.recurrent_forget(hidden))
            state = torch.sigmoid(i) * torch.tanh(u) + (f * cell).sum(1)
            out = torch.sigmoid(o) * torch.tanh(state)
            if len(nodes) == 1:
                return out
            hidden, cell, nodes = out.view(-1, 2, 12), state.view(-1, 2, 12), nodes[::2]


def _ids(*shape: int) -> Callable[[], Tensor]:
    return lambda: torch.randint(0, 99, shape)


def _numbers(*shape: int) -> Callable[[], Tensor]:
    return lambda: torch.randn(shape)


def _both(source: Callable[[], Any], target: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: (source(), target())


def _made(module: Callable[[], nn.Module], inputs: Callable[[], Any]) -> tuple[nn.Module, Any]:
    return module(), inputs()


WRITTEN = [
    Architecture(name=name, family="recurrent", make=functools.partial(_made, module, inputs))
    for name, module, inputs in [
        ("LSTM language model", functools.partial(Language, nn.LSTM), _ids(2, 12)),
        ("GRU language model", functools.partial(Language, nn.GRU), _ids(2, 12)),
        ("Elman network", functools.partial(Language, nn.RNN), _ids(2, 12)),
        ("BiLSTM tagger", functools.partial(Language, nn.LSTM, both_directions=True), _ids(2, 12)),
        ("Seq2seq, additive attention", Translator, _both(_ids(2, 9), _ids(2, 5))),
        ("Seq2seq, bilinear attention", LuongAttention, _both(_ids(2, 9), _ids(2, 5))),
        ("ConvLSTM", ConvolutionalLstm, _numbers(2, 3, 3, 10, 10)),
        ("QRNN", QuasiRecurrent, _ids(2, 12)),
        ("SRU", lambda: nn.Sequential(SimpleRecurrentUnit(), SimpleRecurrentUnit()), _numbers(12, 2, 16)),
        ("minGRU", lambda: nn.Sequential(MinimalGru(), nn.LayerNorm(16), MinimalGru()), _numbers(2, 12, 16)),
        ("Echo state network", EchoState, _numbers(2, 12, 4)),
        ("Neural Turing machine", MemoryCell, _numbers(2, 6, 8)),
        ("Deep Speech 2", Speech, _numbers(2, 1, 16, 30)),
        ("Tree-LSTM", TreeLstm, _numbers(8, 8)),
    ]
]


CONFIGURED = [
    configured("RWKV", "recurrent", "RwkvForCausalLM", {**SMALL, "attention_hidden_size": 32}),
    configured(
        "xLSTM",
        "recurrent",
        "xLSTMForCausalLM",
        {
            "vocab_size": 99,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_heads": 4,
            "chunk_size": 8,
            "use_cache": False,
        },
    ),
]

ARCHITECTURES = [*WRITTEN, *CONFIGURED]
