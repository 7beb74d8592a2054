"""Encoders of the user's own: torch modules that a function makes which is named by its import path."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from repalign import plugins
from repalign.errors import PluginError


class Plugin(nn.Module):
    """A network of the user's own as an encoder f, with submodules as its hidden layers."""

    def __init__(self, network: nn.Module, hidden: Mapping[str, str], output_dim: int, name: str) -> None:
        super().__init__()
        self.network, self.hidden, self.output_dim, self.name = network, dict(hidden), output_dim, name
        known = dict(network.named_modules())
        for layer, path in self.hidden.items():
            if path not in known:
                raise PluginError(f"{name}: hidden {layer}: no submodule '{path}'; there are {', '.join(known)}")

    def layers(self, x: Tensor) -> dict[str, Tensor]:
        """What the named submodules make of x (points x features), as points x units, and the layer `output`."""
        found: dict[str, Tensor] = {}

        def watch(layer: str) -> Callable[[nn.Module, Any, Tensor], None]:
            def keep(_module: nn.Module, _given: Any, values: Any) -> None:
                if not isinstance(values, Tensor):
                    kind = type(values).__name__
                    raise PluginError(f"{self.name}: hidden {layer}: gives a {kind}, expected points x units")
                found[layer] = values.flatten(1)

            return keep

        known = dict(self.network.named_modules())
        hooks = [known[path].register_forward_hook(watch(layer)) for layer, path in self.hidden.items()]
        try:
            output = self(x)
        finally:
            for hook in hooks:
                hook.remove()
        for layer in self.hidden:
            if layer not in found:
                raise PluginError(f"{self.name}: hidden {layer}: the submodule is not called in the forward pass")
        return {layer: found[layer] for layer in self.hidden} | {"output": output}

    def forward(self, x: Tensor) -> Tensor:
        """f(x), points x output_dim."""
        try:
            output = self.network(x)
        except PluginError:
            raise
        except Exception as error:  # a user's network may raise anything, and all seeds at once forbid some layers
            raise PluginError(f"{self.name}: the forward pass of all seeds at once: {plugins.line(error)}") from None
        if not isinstance(output, Tensor) or output.shape != (len(x), self.output_dim):
            shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise PluginError(f"{self.name}: gives {shape} for {len(x)} points; expected ({len(x)}, {self.output_dim})")
        return output


def build(section: Mapping[str, Any], input_dim: int, output_dim: int) -> Plugin:
    """The encoder f of a `kind: plugin` section: `call`(input_dim, output_dim, **options)."""
    call = section["call"]
    network = plugins.call(call, section["options"], input_dim, output_dim)
    if not isinstance(network, nn.Module):
        raise PluginError(f"{call}: gives a {type(network).__name__}, expected a torch.nn.Module")
    if frozen := [name for name, weights in network.named_parameters() if not weights.requires_grad]:
        raise PluginError(f"{call}: {', '.join(frozen)} would be trained too; what stays as it is is a buffer")
    if buffers := dict(network.named_buffers()):
        with torch.random.fork_rng(devices=[]):  # draws on from here, as another seed would
            again = dict(plugins.call(call, section["options"], input_dim, output_dim).named_buffers())
        drawn = [name for name, values in buffers.items() if not torch.equal(values, again[name])]
        if drawn:  # all seeds share the buffers of one (`ManySeeds`)
            raise PluginError(f"{call}: {', '.join(drawn)} is drawn at random; a buffer is the same for all seeds")
    return Plugin(network, section["hidden"], output_dim, call)
