"""The device that a section asks for."""

import torch


def chosen_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one, otherwise the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
