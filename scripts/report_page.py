"""A page of the report from tables (csv) and settings (YAML), each under its heading."""

import json
from pathlib import Path

import yaml

from repalign import reporting, store
from repalign.jobs import job

if "snakemake" in globals():
    with job(snakemake.log[0]), store.replacing(snakemake.output[0]) as temporary:
        parts = []
        for heading, path in json.loads(snakemake.params.parts)["parts"]:
            if Path(path).suffix == ".yaml":
                parts.append(reporting.folded(yaml.safe_load(Path(path).read_text(encoding="utf-8"))))
            else:
                parts.append(reporting.table(heading, store.read_csv(path)))
        temporary.write_text(reporting.page(snakemake.params.title, parts), encoding="utf-8")
