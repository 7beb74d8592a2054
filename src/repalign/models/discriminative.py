"""Models of the canonical discriminative form (Roeder et al. 2021, eq. 1), one or many seeds of them at once.

p(y | x, S) = exp(f(x) . g(y)) / sum over y' in S of exp(f(x) . g(y'))
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

Weights = dict[str, Tensor]


class DiscriminativeModel(nn.Module):
    """An encoder f of inputs and a decoder g, of labels or of inputs of its own, with the same output dimension M."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, x: Tensor, *y: Tensor) -> tuple[Tensor, Tensor]:
        """f(x) (points x M) and g of all labels (classes x M), or of y where y is an input (points x M)."""
        return self.encoder(x), self.decoder(*y)

    def layers(self, x: Tensor, *y: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Every layer of f and of g; both have the layer `output`."""
        return self.encoder.layers(x), self.decoder.layers(*y)  # type: ignore[operator]


def build(section: Mapping[str, Any], input_dim: int, classes: int) -> DiscriminativeModel:
    """The model of a `train` section, initialised from torch's global generator.

    classes: of the labels, or the features of y where the decoder takes y as an input.
    """
    encoder, decoder = (import_module(f"repalign.models.{section[part]['kind']}") for part in ("encoder", "decoder"))
    dim = section["output_dim"]
    # Words are both what x consists of and the labels, so an encoder of words takes their number.
    words = (classes,) if section["encoder"]["kind"] == "log_bilinear" else ()
    return DiscriminativeModel(
        encoder.build(section["encoder"], input_dim, dim, *words), decoder.build(section["decoder"], classes, dim)
    )


class ManySeeds:
    """One architecture with the weights of many seeds: every weight carries the seeds as its first axis.

    A seed's initial weights depend on the seed alone, not on the seeds beside it.
    """

    def __init__(self, section: Mapping[str, Any], input_dim: int, classes: int, device: torch.device) -> None:
        self.section, self.input_dim, self.classes, self.device = section, input_dim, classes, device
        # The skeleton holds no seed: its buffers are used, its weights are replaced at every call.
        self.skeleton = self._initialised(0).to(device)

    def _initialised(self, seed: int) -> DiscriminativeModel:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return build(self.section, self.input_dim, self.classes)

    def initial_weights(self, seeds: Sequence[int]) -> Weights:
        """Untrained weights of these seeds, drawn on the CPU so that they are the same on every device."""
        weights, _ = stack_module_state([self._initialised(seed) for seed in seeds])
        return {name: value.detach().to(self.device) for name, value in weights.items()}

    def outputs(self, weights: Weights, *inputs: Tensor, own_inputs: bool) -> tuple[Tensor, Tensor]:
        """f (seeds x points x M) and g (seeds x classes x M, or x points x M where y is an input).

        inputs: x, and y where it is an input; seeds x points x features with `own_inputs`, otherwise points x features,
        the same for all seeds.
        """

        def one(weights: Weights, *inputs: Tensor) -> Any:
            return functional_call(self.skeleton, weights, inputs)

        f, g = vmap(one, in_dims=(0, *(0 if own_inputs else None for _ in inputs)))(weights, *inputs)
        return f, g

    def layers(self, weights: Weights, *inputs: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Every layer of f (seeds x points x units) and of g (seeds x classes or points x units) by name.

        inputs: x (points x features), and y where it is an input.
        """
        skeleton = _Layers(self.skeleton)

        def one(weights: Weights) -> Any:
            return functional_call(skeleton, {f"model.{name}": value for name, value in weights.items()}, inputs)

        found, g = vmap(one)(weights)
        return found, g


class _Layers(nn.Module):
    """A model whose forward gives the layers: functional_call calls `forward` alone."""

    def __init__(self, model: DiscriminativeModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return self.model.layers(*inputs)
