"""Stage fit of studies of dynamics: the effective theory's rates for every run of a study."""

import json

import pandas as pd

from repalign import fits, history, store
from repalign.jobs import job

if "snakemake" in globals():
    with job(snakemake.log[0]):
        parts = [
            fits.table(history.read(path), setting, part["fit"])
            for setting, part in json.loads(snakemake.params.section).items()
            for path in part["histories"]
        ]
        store.write_csv(snakemake.output.fits, pd.concat(parts, ignore_index=True))
