"""A page of the report from tables (csv), text (Markdown) and settings (YAML)."""

import json
from pathlib import Path

import yaml

from repalign import reporting, store
from repalign.jobs import job

if "snakemake" in globals():
    with job(snakemake.log[0]), store.replacing(snakemake.output[0]) as temporary:
        parts = []
        for heading, file in json.loads(snakemake.params.parts)["parts"]:
            path = Path(file)
            if path.suffix == ".csv":
                parts.append(reporting.table(heading, store.read_csv(path)))
            elif path.suffix == ".md":
                parts.append(reporting.markdown(path.read_text(encoding="utf-8")))
            else:
                parts.append(reporting.folded(yaml.safe_load(path.read_text(encoding="utf-8"))))
        temporary.write_text(reporting.page(snakemake.params.title, parts), encoding="utf-8")
