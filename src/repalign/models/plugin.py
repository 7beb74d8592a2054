"""Encoders of the user's own: torch modules that a function makes which is named by its import path."""

from collections.abc import Callable, Mapping
from typing import Any

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
            def keep(_module: nn.Module, _given: Any, values: Tensor) -> None:
                found[layer] = values.flatten(1)

            return keep

        known = dict(self.network.named_modules())
        hooks = [known[path].register_forward_hook(watch(layer)) for layer, path in self.hidden.items()]
        try:
            output = self(x)
        finally:
            for hook in hooks:
                hook.remove()
        return {layer: found[layer] for layer in self.hidden} | {"output": output}

    def forward(self, x: Tensor) -> Tensor:
        """f(x), points x output_dim."""
        output = self.network(x)
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
    return Plugin(network, section["hidden"], output_dim, call)
