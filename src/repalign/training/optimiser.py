"""Gradient descent and Adam by PyTorch's kernels.

The classes of `torch.optim` import PyTorch's compiler at their first step, which takes longer than a small network
trains; their functions, called here, do not.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd


class Optimiser:
    """What an `optimiser` section asks for, over parameters with gradients in `grad`: the steps of `torch.optim`."""

    def __init__(self, section: Mapping[str, Any], parameters: Mapping[str, Tensor]) -> None:
        self.section, self.parameters = section, list(parameters.values())
        self.momentum: list[Tensor | None] = [None] * len(self.parameters)
        if section["kind"] == "adam":
            self.means = [torch.zeros_like(value) for value in self.parameters]
            self.squares = [torch.zeros_like(value) for value in self.parameters]
            self.steps = [torch.zeros((), dtype=torch.float32, device=value.device) for value in self.parameters]

    def zero_grad(self) -> None:
        """Forgets the gradients."""
        for value in self.parameters:
            value.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """One step; a parameter without a gradient stays as it is."""
        moved = [place for place, value in enumerate(self.parameters) if value.grad is not None]
        values = [self.parameters[place] for place in moved]
        gradients = [value.grad for value in values if value.grad is not None]
        rate, decay = self.section["learning_rate"], self.section["weight_decay"]
        if self.section["kind"] == "adam":
            adam(
                values,
                gradients,
                [self.means[place] for place in moved],
                [self.squares[place] for place in moved],
                [],
                [self.steps[place] for place in moved],
                fused=True,
                amsgrad=False,
                beta1=0.9,
                beta2=0.999,
                lr=rate,
                weight_decay=decay,
                eps=1e-8,
                maximize=False,
            )
            return
        momenta = [self.momentum[place] for place in moved]
        sgd(
            values,
            gradients,
            momenta,
            fused=True,
            weight_decay=decay,
            momentum=self.section["momentum"],
            lr=rate,
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )
        for place, momentum in zip(moved, momenta, strict=True):
            self.momentum[place] = momentum
