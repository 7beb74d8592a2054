"""The represent stage: f of the probe points and g of all labels, streamed to HDF5."""

import json
import logging
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from repalign import store
from repalign.errors import DataError
from repalign.models.discriminative import ManySeeds
from repalign.training.files import read_about, read_weights
from repalign.training.minibatch import chosen_device

logger = logging.getLogger(__name__)
ROWS = 4096


@torch.no_grad()
def represent(target: str | Path, weights: str | Path, data: str | Path, section: dict[str, Any]) -> None:
    """Writes the representations of a block of runs; `section` is a complete `represent` section.

    Layout: `step-<step>/encoder/<layer>` (seeds x probe points x units), `step-<step>/decoder/output`
    (seeds x classes x M), `probes/y`; root attributes seeds, steps, diverged_at. Probe points are the first `probes`
    test points; they are streamed in pieces, so that memory does not grow with their number.
    """
    about = read_about(weights)
    device = chosen_device(section["device"])
    models = ManySeeds(about["section"]["train"], about["input_dim"], about["classes"], device)
    steps = section.get("steps") or about["steps"]
    attributes = {"seeds": about["seeds"], "steps": steps, "diverged_at": about["diverged_at"]}
    with (
        store.opened(data, "dataset") as source,
        store.create(target, "representations", json.dumps(section, sort_keys=True), **attributes) as file,
    ):
        labels = store.read(source, "test/y")
        available = len(labels)
        n = section.get("probes") or available
        if n > available:
            raise DataError(f"{data}: represent.probes asks for {n} probe points, the test set has {available}")
        store.put(file, "probes/y", labels[:n], "class")
        for step in tqdm(steps, desc=f"represent {Path(target).stem}", unit="step", disable=None):
            own = read_weights(weights, step, device)
            for start in range(0, n, ROWS):
                stop = min(start + ROWS, n)
                x = torch.from_numpy(store.read(source, "test/x", slice(start, stop))).to(device)
                layers, g = models.layers(own, x)
                for layer in section["layers"]:
                    values = layers[layer].cpu().numpy()
                    name = f"step-{step:07d}/encoder/{layer}"
                    if start == 0:
                        store.dataset(file, name, (len(values), n, *values.shape[2:]), values.dtype, "activation", 1)
                    file[name][:, start:stop] = values
            store.put(file, f"step-{step:07d}/decoder/output", g.cpu().numpy(), "activation", 1)
            logger.info("step %d: layers %s of %d probe points", step, ", ".join(section["layers"]), n)
