"""Stage prepare: one data set in the one form, whatever it comes from."""

import json
from importlib import import_module
from pathlib import Path

from repalign.datasets import dataset
from repalign.jobs import job

if "snakemake" in globals():
    with job(snakemake.log[0]):
        section = json.loads(snakemake.params.section)
        kind = import_module(f"repalign.datasets.{section['kind']}")
        files = {
            role: Path(given) if isinstance(given, str) else [Path(path) for path in given]
            for role, given in snakemake.input.items()
        }
        write = getattr(kind, "write", dataset.write)  # sentences have a form of their own
        write(snakemake.output[0], kind.make(section, files), snakemake.params.section)
