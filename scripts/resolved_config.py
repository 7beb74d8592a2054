"""The configuration as it was resolved: every setting of every study with its defaults."""

import json

import yaml

from repalign import store
from repalign.jobs import job

if "snakemake" in globals():
    with job(snakemake.log[0]), store.replacing(snakemake.output[0]) as temporary:
        section = json.loads(snakemake.params.section)
        temporary.write_text(yaml.safe_dump(section, sort_keys=False, allow_unicode=True), encoding="utf-8")
