"""The run times of all jobs: by stage, by figure, and the slowest."""

import json

from repalign import reporting, store
from repalign.jobs import job

if "snakemake" in globals():
    with job(snakemake.log[0]):
        times = reporting.run_times(snakemake.params.folder)
        figures = json.loads(snakemake.params.figures)
        store.write_csv(snakemake.output.stages, reporting.by_stage(times))
        store.write_csv(snakemake.output.slowest, reporting.slowest(times))
        store.write_csv(snakemake.output.figures, reporting.by_figure(times, figures, snakemake.params.scale))
