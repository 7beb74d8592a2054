"""Stage fit of other studies: the effective theory of two points at the checkpoints of their runs."""

import json

import pandas as pd

from repalign import checkpoint_fits, store
from repalign.jobs import job
from repalign.runs import RunFiles

if "snakemake" in globals():
    with job(snakemake.log[0]):
        parts = []
        for setting, part in json.loads(snakemake.params.section).items():
            with RunFiles(setting, part["representations"]) as files:
                points = files.runs[0].encoder["output"].shape[0]
                x, targets = checkpoint_fits.read_points(part["data"], points)
                parts.append(checkpoint_fits.table(files.runs, x, targets, part["fit"]))
        store.write_csv(snakemake.output.fits, pd.concat(parts, ignore_index=True))
