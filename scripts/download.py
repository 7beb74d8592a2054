"""Stage download: one remote file, checked against its digest."""

import json
from pathlib import Path

from repalign.download import download
from repalign.jobs import job

if "snakemake" in globals():
    with job(snakemake.log[0]):
        section = json.loads(snakemake.params.section)
        download(
            Path(snakemake.output[0]),
            section["urls"],
            sha256=section.get("sha256"),
            md5=section.get("md5"),
            name=snakemake.wildcards.file,
            mirror=snakemake.resources.mirror or None,
            timeout=float(snakemake.resources.timeout),
            attempts=snakemake.resources.attempts,
        )
