"""Full-batch training of one fully connected network on the CPU, compiled, with its record.

A step of gradient descent on few points is bound by memory: automatic differentiation reads every weight matrix twice,
writes its gradient, reads the gradient, reads the weights and writes them. Here the backward pass updates two rows of
a weight matrix right after it has read them, so no gradient is ever stored, and the record comes from the forward pass
that training needs anyway. Adam (Kingma and Ba 2015) makes the gradient of one row at a time.
"""

from dataclasses import dataclass

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from repalign.models.families import FullyConnected
from repalign.models.mlp import ACTIVATIONS

Floats = NDArray[np.float32]
# In the order of the cases of `_activate`.
CLASSES = [ACTIVATIONS[name] for name in ("identity", "leaky_relu", "relu", "tanh", "elu", "silu")]
# Sums may be reordered, so that they run in vector registers; infinities and NaNs keep their meaning.
_compiled = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz", "arcp"})


@dataclass
class Network:
    """Weights of `depth` hidden layers, one array a kind, so that the compiled loop needs no lists; float32.

    Slot 0 holds the weights; for Adam, 1 and 2 hold the running means of the gradient and of its square. first: slots x
    width x inputs; hidden: (depth - 1) x slots x width x width; last: slots x outputs x width; hidden_biases: depth x
    slots x width; last_bias: slots x outputs.
    """

    first: Floats
    hidden: Floats
    last: Floats
    hidden_biases: Floats
    last_bias: Floats
    activation: int
    """Position in `CLASSES`."""
    skip: bool
    """Adds the output of the layer before last to every hidden layer from the third."""
    dropout: float
    """Share of inputs of every affine map that a training step sets to zero."""

    @classmethod
    def of(cls, network: FullyConnected, adam: bool) -> "Network":
        """Copies of the weights of a network of fully connected layers, with room for what Adam keeps."""

        def slots(values: torch.Tensor) -> Floats:
            made = np.zeros((3 if adam else 1, *values.shape), np.float32)
            made[0] = values.detach().numpy()
            return made

        weights = [slots(layer.weight) for layer in network.affine_maps()]
        biases = [slots(layer.bias) for layer in network.affine_maps()]
        width = biases[0].shape[1]
        return cls(
            first=weights[0],
            hidden=np.array(weights[1:-1], np.float32).reshape(-1, len(weights[0]), width, width),
            last=weights[-1],
            hidden_biases=np.stack(biases[:-1]),
            last_bias=biases[-1],
            activation=CLASSES.index(type(network.activation)),
            skip=network.skip,
            dropout=network.dropout.p,
        )

    def copy_to(self, network: FullyConnected) -> None:
        """Writes the weights into a network of the same shape."""
        weights, biases = [self.first, *self.hidden, self.last], [*self.hidden_biases, self.last_bias]
        with torch.no_grad():
            for layer, weight, bias in zip(network.affine_maps(), weights, biases, strict=True):
                layer.weight.copy_(torch.from_numpy(weight[0]))
                layer.bias.copy_(torch.from_numpy(bias[0]))

    def train(
        self, x: Floats, y: Floats, rate: float, scale: float, pairs: NDArray[np.int64], layers: NDArray[np.int64],
        stop: float, rng: np.random.Generator, done: int,
        h2: NDArray[np.float64], y2: NDArray[np.float64], w: NDArray[np.float64], losses: NDArray[np.float64],
    ) -> int:  # fmt: skip
        """Trains in place for as many epochs as `losses` holds and writes the record; returns how many were recorded.

        x: points x inputs; y: points x outputs; the loss is scale / 2 times the sum of squared errors. pairs: positions
        of points, pairs x 2; layers: hidden layers, counted from 0; done: steps that Adam has taken before; h2: epochs
        x pairs x layers; y2, w: epochs x pairs. Training ends early where the recorded loss is below `stop` or not
        finite.
        """
        even = np.concatenate([x, np.zeros((len(x) % 2, x.shape[1]), x.dtype)])
        took: int = _epochs(
            self.first, self.hidden, self.last, self.hidden_biases, self.last_bias, self.activation, self.skip,
            np.float32(self.dropout), rng, even, y, np.float32(rate), np.float32(scale), pairs, layers, stop,
            done, h2, y2, w, losses,
        )  # fmt: skip
        return took


@_compiled
def _activate(kind: int, z: Floats, out: Floats, slope: Floats) -> None:
    """Writes f(z) and f'(z)."""
    one, zero = np.float32(1), np.float32(0)
    for i in range(z.size):
        v = z[i]
        if kind == 0:
            out[i], slope[i] = v, one
        elif kind == 1:
            s = one if v > zero else np.float32(0.01)
            out[i], slope[i] = v * s, s
        elif kind == 2:
            s = one if v > zero else zero
            out[i], slope[i] = v * s, s
        elif kind == 3:
            a = np.tanh(v)
            out[i], slope[i] = a, one - a * a
        elif kind == 4:
            a = v if v > zero else np.expm1(v)
            out[i], slope[i] = a, one if v > zero else a + one
        else:
            s = one / (one + np.exp(-v))
            out[i], slope[i] = v * s, s * (one + v * (one - s))


# Points are even in number below (`train` adds one that counts nowhere), and so are the columns of delta: where units
# are odd, the last is zeros. Two points and two rows of weights are taken at a time: what is read once serves four
# products.
@_compiled
def _affine(weight: Floats, bias: Floats, a: Floats, z: Floats) -> None:
    """z = a Wᵀ + b for points x units."""
    points, inputs = a.shape
    units, spare = weight.shape[0], np.zeros(inputs, np.float32)
    for k in range(0, points, 2):
        a0, a1 = a[k], a[k + 1]
        for i in range(0, units, 2):
            row0, row1 = weight[i], weight[i + 1] if i + 1 < units else spare
            z00 = z01 = z10 = z11 = np.float32(0)
            for j in range(inputs):
                z00 += a0[j] * row0[j]
                z01 += a0[j] * row1[j]
                z10 += a1[j] * row0[j]
                z11 += a1[j] * row1[j]
            z[k, i], z[k + 1, i] = z00 + bias[i], z10 + bias[i]
            if i + 1 < units:
                z[k, i + 1], z[k + 1, i + 1] = z01 + bias[i + 1], z11 + bias[i + 1]


@_compiled
def _adam(value: Floats, mean: Floats, square: Floats, grad: Floats, rate: np.float32, step: int) -> None:
    """Adam's step with its usual constants; step: counted from 1."""
    size = np.float32(rate / (1 - 0.9**step))
    correction = np.float32(1 / np.sqrt(1 - 0.999**step))
    for j in range(value.size):
        mean[j] += np.float32(0.1) * (grad[j] - mean[j])
        square[j] = np.float32(0.999) * square[j] + np.float32(0.001) * grad[j] * grad[j]
        value[j] -= size * mean[j] / (np.sqrt(square[j]) * correction + np.float32(1e-8))


@_compiled
def _step(weight: Floats, bias: Floats, a: Floats, delta: Floats, back: Floats, rate: np.float32, step: int) -> None:
    """From delta = dL/dz: back = dL/da by the weights as they are, which then take their step, two rows at a time."""
    points, inputs = a.shape
    units, spare = weight.shape[1], np.zeros(inputs, np.float32)
    adam = weight.shape[0] > 1
    grad, changes = np.empty(inputs if adam else 0, np.float32), np.zeros(units, np.float32)
    back[:] = 0
    for i in range(0, units, 2):
        row0, row1 = weight[0, i], weight[0, i + 1] if i + 1 < units else spare
        for k in range(0, points, 2):
            back0, back1 = back[k], back[k + 1]
            d00, d01, d10, d11 = delta[k, i], delta[k, i + 1], delta[k + 1, i], delta[k + 1, i + 1]
            for j in range(inputs):
                back0[j] += d00 * row0[j] + d01 * row1[j]
                back1[j] += d10 * row0[j] + d11 * row1[j]
        if adam:
            for unit in range(i, min(i + 2, units)):
                grad[:] = 0
                for k in range(points):
                    d, a0 = delta[k, unit], a[k]
                    for j in range(inputs):
                        grad[j] += d * a0[j]
                _adam(weight[0, unit], weight[1, unit], weight[2, unit], grad, rate, step)
            continue
        for k in range(0, points, 2):
            a0, a1 = a[k], a[k + 1]
            s00, s01 = rate * delta[k, i], rate * delta[k, i + 1]
            s10, s11 = rate * delta[k + 1, i], rate * delta[k + 1, i + 1]
            for j in range(inputs):
                row0[j] -= s00 * a0[j] + s10 * a1[j]
                row1[j] -= s01 * a0[j] + s11 * a1[j]
    for k in range(points):
        for i in range(units):
            changes[i] += delta[k, i]
    if adam:
        _adam(bias[0], bias[1], bias[2], changes, rate, step)
    else:
        for i in range(units):
            bias[0, i] -= rate * changes[i]


@_compiled
def _drop(a: Floats, keep: Floats, share: np.float32, rng: np.random.Generator) -> None:
    """Sets each value to zero with this chance and scales the rest; `keep` takes the factors."""
    scale = np.float32(1) / (np.float32(1) - share)
    for k in range(a.shape[0]):
        for i in range(a.shape[1]):
            keep[k, i] = scale if rng.random() >= share else np.float32(0)
            a[k, i] *= keep[k, i]


@_compiled
def _forward(
    first: Floats, hidden: Floats, last: Floats, hidden_biases: Floats, last_bias: Floats, activation: int, skip: bool,
    share: np.float32, rng: np.random.Generator, x: Floats, z: Floats, a: Floats, fed: Floats, slope: Floats,
    keep_x: Floats, keep: Floats, output: Floats,
) -> None:  # fmt: skip
    """One pass. a: representations by hidden layer; fed: what each layer hands on, which dropout changes.

    With share 0 nothing is dropped, and `fed` equals `a`.
    """
    depth = a.shape[0]
    into = x.copy()
    if share > 0:
        _drop(into, keep_x, share, rng)
    for layer in range(depth):
        if layer == 0:
            _affine(first[0], hidden_biases[0, 0], into, z)
        else:
            _affine(hidden[layer - 1, 0], hidden_biases[layer, 0], fed[layer - 1], z)
        _activate(activation, z.reshape(-1), a[layer].reshape(-1), slope[layer].reshape(-1))
        if skip and layer >= 2:
            a[layer] += a[layer - 2]
        fed[layer] = a[layer]
        if share > 0:
            _drop(fed[layer], keep[layer], share, rng)
    _affine(last[0], last_bias[0], fed[depth - 1], output)


@_compiled
def _epochs(
    first: Floats, hidden: Floats, last: Floats, hidden_biases: Floats, last_bias: Floats, activation: int, skip: bool,
    share: np.float32, rng: np.random.Generator, x: Floats, y: Floats, rate: np.float32, scale: np.float32,
    pairs: NDArray[np.int64], layers: NDArray[np.int64], stop: float, done: int,
    h2: NDArray[np.float64], y2: NDArray[np.float64], w: NDArray[np.float64], losses: NDArray[np.float64],
) -> int:  # fmt: skip
    """Records each epoch, then takes its step; returns how many epochs were recorded.

    x: an even number of points; y may have one fewer, and the last point then counts nowhere.

    It ends where the loss that was recorded is below `stop` or not finite, without a step after it.
    """
    depth, _, width = hidden_biases.shape
    points, outputs = len(x), y.shape[1]
    z, output = np.empty((points, width), np.float32), np.empty((points, outputs), np.float32)
    a = np.empty((depth, points, width), np.float32)
    fed, slope, keep = np.empty_like(a), np.empty_like(a), np.ones_like(a)
    keep_x, back_x = np.ones_like(x), np.empty_like(x)
    back, delta = np.empty_like(a), np.zeros((points, width + width % 2), np.float32)
    out_delta = np.zeros((points, outputs + outputs % 2), np.float32)
    none = np.float32(0)
    for epoch in range(losses.size):
        _forward(
            first, hidden, last, hidden_biases, last_bias, activation, skip, none, rng,
            x, z, a, fed, slope, keep_x, keep, output,
        )  # fmt: skip
        loss = 0.0
        for k in range(len(y)):
            for o in range(outputs):
                loss += float(output[k, o] - y[k, o]) ** 2
        losses[epoch] = 0.5 * scale * loss
        for pair in range(pairs.shape[0]):
            p, q = pairs[pair]
            predicted, aligned = 0.0, 0.0
            for o in range(outputs):
                d = float(output[p, o] - output[q, o])
                predicted += d * d
                aligned += d * float(y[p, o] - y[q, o])
            y2[epoch, pair], w[epoch, pair] = predicted, predicted - aligned
            for column in range(layers.size):
                u, v = a[layers[column], p], a[layers[column], q]
                distance = 0.0
                for i in range(width):
                    d = float(u[i] - v[i])
                    distance += d * d
                h2[epoch, pair, column] = distance
        if not stop <= losses[epoch] < np.inf:
            return epoch + 1
        if share > 0:
            _forward(
                first, hidden, last, hidden_biases, last_bias, activation, skip, share, rng,
                x, z, a, fed, slope, keep_x, keep, output,
            )  # fmt: skip
            into = x * keep_x
        else:
            into = x
        out_delta[: len(y), :outputs] = (output[: len(y)] - y) * scale
        step = done + epoch + 1
        _step(last, last_bias, fed[depth - 1], out_delta, back[depth - 1], rate, step)
        for layer in range(depth - 1, -1, -1):
            if share > 0:
                back[layer] *= keep[layer]
            if skip and 2 <= layer + 2 <= depth - 1:
                back[layer] += back[layer + 2]
            delta[:, :width] = back[layer] * slope[layer]
            if layer == 0:
                _step(first, hidden_biases[0], into, delta, back_x, rate, step)
            else:
                _step(hidden[layer - 1], hidden_biases[layer], fed[layer - 1], delta, back[layer - 1], rate, step)
    return losses.size
