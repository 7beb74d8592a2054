"""Stage fetch_model: a language model of a hub at a pinned revision."""

import json

from repalign.hub import fetch
from repalign.jobs import job

if "snakemake" in globals():
    with job(snakemake.log[0]):
        section = json.loads(snakemake.params.section)
        fetch(snakemake.output[0], section["name"], section["revision"], snakemake.resources.hub or None)
