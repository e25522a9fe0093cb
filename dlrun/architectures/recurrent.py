"""Recurrent networks for sequences: simple, long short-term memory, gated recurrent units."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from dlrun.activations import ACTIVATIONS
from dlrun.architectures.blocks import Blocks, Dropout
from dlrun.errors import ConfigError
from dlrun.matrix.rows import alone


class Layer(nn.Module):
    """Runs a cell over time: (batch, time, features) to its output at every time, (batch, time, units).

    The maps of all gates stand in one matrix, so an initializer that looks at fan_out sees them all.
    """

    gates = 1
    states = 1  #: tensors (batch, units) remembered from step to step, the output first
    recurrent_bias = False  #: a second bias makes a difference only where a gate multiplies the recurrent map

    def __init__(self, fan_in: int, units: int) -> None:
        super().__init__()
        self.input = nn.Linear(fan_in, self.gates * units)
        self.recurrent = nn.Linear(units, self.gates * units, bias=self.recurrent_bias)
        self.units = units

    def step(self, z: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """The next state from the mapped inputs of one time, (batch, gates * units), and the state."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        state = (x.new_zeros(x.shape[0], self.units),) * self.states
        outputs = []
        for z in self.input(x).unbind(1):
            state = self.step(z, *state)
            outputs.append(state[0])
        return torch.stack(outputs, 1)


class SimpleLayer(Layer):
    """One layer of `RNN`."""

    def __init__(self, fan_in: int, units: int, activation: str) -> None:
        super().__init__(fan_in, units)
        self.activation = ACTIVATIONS[activation]()

    def step(self, z: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        return (self.activation(z + self.recurrent(state[0])),)


class LSTMLayer(Layer):
    """One layer of `LSTM`."""

    gates, states = 4, 2

    def __init__(self, fan_in: int, units: int, forget_bias: float) -> None:
        super().__init__(fan_in, units)
        self.forget_bias = forget_bias

    def step(self, z: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        h, c = state
        i, f, g, o = (z + self.recurrent(h)).chunk(4, 1)
        c = torch.sigmoid(f + self.forget_bias) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def forward(self, x: Tensor) -> Tensor:
        if not alone.get():
            return super().forward(x)
        bias = self.input.bias.unflatten(0, (self.gates, -1))  # PyTorch's own layer, with the gates in the same order
        bias = (bias + bias.new_tensor([0, self.forget_bias, 0, 0])[:, None]).flatten()
        weights = [self.input.weight, self.recurrent.weight, bias, torch.zeros_like(bias)]
        start = [x.new_zeros(1, x.shape[0], self.units)] * 2
        return torch.lstm(x, start, weights, True, 1, 0.0, self.training, False, True)[0]


class GRULayer(Layer):
    """One layer of `GRU`."""

    gates, recurrent_bias = 3, True

    def step(self, z: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        (h,) = state
        (reset, update, new), (reset_h, update_h, new_h) = z.chunk(3, 1), self.recurrent(h).chunk(3, 1)
        new = torch.tanh(new + torch.sigmoid(reset + reset_h) * new_h)
        return (torch.lerp(new, h, torch.sigmoid(update + update_h)),)


class Recurrent(nn.Sequential):
    """Recurrent layers over (batch, time, features), then a linear map of the last layer's last output.

    Dropout stands on the inputs and on every layer's outputs, never on the way from one time to the next
    (Zaremba et al. 2014, arXiv:1409.2329).

    Args:
        hidden: units of the layer, or of each layer.
        rows: read an image (channels, height, width) as the sequence of its rows.

    Raises ConfigError for inputs that are no sequences, and for a normalization.
    """

    def __init__(
        self,
        name: str,
        layer: Callable[[int, int], Layer],
        shape: Sequence[int],
        outputs: int,
        blocks: Blocks,
        hidden: int | Sequence[int],
        rows: bool,
    ) -> None:
        blocks.refuse_normalization(name)
        if rows and len(shape) != 3:
            raise ConfigError(
                f"architecture.rows=true reads images row by row, and this dataset's inputs have shape {tuple(shape)}: "
                "leave architecture.rows=false"
            )
        if not rows and len(shape) != 2:
            images = "give architecture.rows=true to read the images row by row, or " if len(shape) == 3 else ""
            raise ConfigError(
                f"architecture={name} needs sequences (time, features), and this dataset's inputs have shape "
                f"{tuple(shape)}: {images}choose a dataset of sequences"
            )
        layers: list[nn.Module] = [Rows()] if rows else []
        layers += blocks.input()
        fan_in = shape[0] * shape[2] if rows else shape[1]
        for units in [hidden] if isinstance(hidden, int) else hidden:
            layers.append(layer(fan_in, units))
            if blocks.p_hidden is not None:
                layers.append(Dropout(blocks.p_hidden))
            fan_in = units
        super().__init__(*layers, Last(), nn.Linear(fan_in, outputs))


class Rows(nn.Module):
    """Images (batch, channels, height, width) as sequences (batch, height, channels * width)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2).flatten(2)


class Last(nn.Module):
    """The last of (batch, time, units)."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, -1]


class RNN(Recurrent):
    r"""Simple recurrent layers over (batch, time, features), then a linear map of the last layer's last output.

    $$h_t = f(W x_t + U h_{t-1} + b)$$

    Dropout stands on the inputs and on every layer's outputs, never on the way from one time to the next (Zaremba et
    al. 2014).

    Raises ConfigError for inputs that are no sequences, and for a normalization.

    Reference: Elman 1990, doi:10.1207/s15516709cog1402_1; Zaremba et al. 2014, arXiv:1409.2329; lectures 002, 004.
    """

    def __init__(
        self, shape: Sequence[int], outputs: int, blocks: Blocks, hidden: int | Sequence[int], rows: bool
    ) -> None:
        def layer(fan_in: int, units: int) -> Layer:
            return SimpleLayer(fan_in, units, blocks.activation)

        super().__init__("rnn", layer, shape, outputs, blocks, hidden, rows)


class LSTM(Recurrent):
    r"""Layers of three gates and a candidate, $(i, f, g, o) = W x_t + U h_{t-1} + b$, around a memory c.

    $$c_t = \sigma(f + b_f)\, c_{t-1} + \sigma(i) \tanh g, \quad h_t = \sigma(o) \tanh c_t$$

    The constant $b_f$ keeps the memory at first, whatever the initializer. Output, dropout and what is refused are as
    in `RNN`.

    Args:
        forget_bias: $b_f$, added to the forget gates beside their learned bias.

    Reference: Hochreiter & Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735; forget gates, Gers et al. 2000,
    doi:10.1162/089976600300015015; their bias of 1, Jozefowicz et al. 2015; lectures 002, 004.
    """

    def __init__(
        self,
        shape: Sequence[int],
        outputs: int,
        blocks: Blocks,
        hidden: int | Sequence[int],
        rows: bool,
        forget_bias: float,
    ) -> None:
        def layer(fan_in: int, units: int) -> Layer:
            return LSTMLayer(fan_in, units, forget_bias)

        super().__init__("lstm", layer, shape, outputs, blocks, hidden, rows)


class GRU(Recurrent):
    r"""Layers of gates r (reset) and z (update), and a candidate n whose recurrent map is reset after its bias.

    $$r, z = \sigma(W_{r,z}\, x_t + U_{r,z}\, h_{t-1} + b_{r,z})$$
    $$n = \tanh(W x_t + b + r\,(U h_{t-1} + c)), \quad h_t = (1 - z)\, n + z\, h_{t-1}$$

    As in torch.nn.GRU; the paper resets before the map. Output, dropout and what is refused are as in `RNN`.

    Reference: Cho et al. 2014, arXiv:1406.1078; lectures 002, 004.
    """

    def __init__(
        self, shape: Sequence[int], outputs: int, blocks: Blocks, hidden: int | Sequence[int], rows: bool
    ) -> None:
        super().__init__("gru", GRULayer, shape, outputs, blocks, hidden, rows)
