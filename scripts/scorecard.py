"""Stage scorecard: every claim of the papers beside our number, and its verdict."""

import json

from repalign import scorecard
from repalign.jobs import job

if "snakemake" in globals():
    with job(snakemake.log[0]):
        section = json.loads(snakemake.params.section)
        names = [path.removeprefix(f"{section['folder']}/") for path in snakemake.input]
        tables = scorecard.read_tables(dict(zip(names, snakemake.input, strict=True)))
        card = scorecard.score(section, tables)
        scorecard.write(snakemake.output.csv, snakemake.output.page, card, section["confidence"])
