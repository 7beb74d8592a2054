"""The represent stage: f of the probe points and g of all labels or of the probe points, streamed to HDF5."""

import hashlib
import json
import logging
from itertools import product
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from repalign import store
from repalign.errors import DataError
from repalign.models.discriminative import ManySeeds
from repalign.training.device import chosen_device
from repalign.training.files import read_about, read_weights

logger = logging.getLogger(__name__)
ROWS = 4096


@torch.no_grad()
def represent(target: str | Path, weights: str | Path, data: str | Path, section: dict[str, Any]) -> None:
    """Writes the representations of a block of runs; `section` is a complete `represent` section.

    Layout: `step-<step>/encoder/<layer>` (seeds x probe points x units), `step-<step>/decoder/<layer>` (seeds x
    classes, or probe points where y is an input, x units), `probes/y` where y are labels, `probes/group` where points
    depend on each other; root attributes seeds, steps, diverged_at, candidates (size of S where y is an input, else 0),
    probes (digest of the probe points). Probe points are the first `probes` test points; they are streamed in pieces,
    so that memory does not grow with their number.
    """
    about = read_about(weights)
    device = chosen_device(section["device"])
    train = about["section"]["train"]
    models = ManySeeds(train, about["input_dim"], about["classes"], device)
    steps = section.get("steps") or about["steps"]
    attributes = {"seeds": about["seeds"], "steps": steps, "diverged_at": about["diverged_at"]}
    with (
        store.opened(data, "dataset") as source,
        store.create(target, "representations", json.dumps(section, sort_keys=True), **attributes) as file,
    ):
        paired = int(source.attrs["classes"]) == 0
        available = len(store.array(source, "test/x"))
        n = section.get("probes") or available
        if n > available:
            raise DataError(f"{data}: represent.probes asks for {n} probe points, the test set has {available}")
        if not paired:
            store.put(file, "probes/y", store.read(source, "test/y", slice(n)), "class")
        if "group" in store.names(source, "test"):
            store.put(file, "probes/group", store.read(source, "test/group", slice(n)), "group of dependent points")
        file.attrs["candidates"] = train["batch_size"] if paired else 0
        digest = hashlib.sha256()
        for name, start in product(("x", "y"), range(0, n, ROWS)):
            digest.update(store.read(source, f"test/{name}", slice(start, min(start + ROWS, n))).tobytes())
        store.annotate(file, "probes", digest.hexdigest())
        for step in tqdm(steps, desc=f"represent {Path(target).stem}", unit="step", disable=None):
            own = read_weights(weights, step, device)
            for start in range(0, n, ROWS):
                stop = min(start + ROWS, n)
                inputs = [store.read(source, f"test/{name}", slice(start, stop)) for name in ("x", "y")[: 1 + paired]]
                f, g = models.layers(own, *(torch.from_numpy(values).to(device) for values in inputs))
                found = {f"encoder/{layer}": f[layer] for layer in section["layers"]}
                if paired or start == 0:
                    found |= {f"decoder/{layer}": g[layer] for layer in section["decoder_layers"]}
                for layer, tensor in found.items():
                    values, name = tensor.cpu().numpy(), f"step-{step:07d}/{layer}"
                    points = n if paired or layer.startswith("encoder") else values.shape[1]
                    if start == 0:
                        store.dataset(
                            file, name, (len(values), points, *values.shape[2:]), values.dtype, "activation", 1
                        )
                    file[name][:, start : start + values.shape[1]] = values
            logger.info("step %d: layers %s of %d probe points", step, ", ".join(section["layers"]), n)
