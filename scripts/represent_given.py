"""Stage represent of representations made elsewhere: one run, read from the user's file."""

import json

from repalign.jobs import job
from repalign.representing_given import represent

if "snakemake" in globals():
    with job(snakemake.log[0]):
        section, (seed,) = json.loads(snakemake.params.section), json.loads(snakemake.params.seeds)["seeds"]
        represent(snakemake.output[0], snakemake.input.run, seed, section, snakemake.input.get("ids"))
