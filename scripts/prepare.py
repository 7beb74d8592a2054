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
        # The files of a folder are a list; their data set finds them by its path.
        files = {role: Path(path) for role, path in snakemake.input.items() if isinstance(path, str)}
        write = getattr(kind, "write", dataset.write)  # sentences have a form of their own
        write(snakemake.output[0], kind.make(section, files), snakemake.params.section)
