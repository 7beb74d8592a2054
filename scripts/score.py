"""Stage score: the runs of a block with each other and with all runs before them."""

import json
from contextlib import ExitStack

from repalign import scoring, store
from repalign.jobs import job
from repalign.runs import RunFiles

if "snakemake" in globals():
    with job(snakemake.log[0]), ExitStack() as stack:
        section = json.loads(snakemake.params.section)
        settings = json.loads(snakemake.params.settings)["settings"]
        paths = snakemake.input
        earlier = stack.enter_context(RunFiles(settings[0], paths.get("earlier", [])))
        own = stack.enter_context(RunFiles(settings[-1], [paths.own]))
        earlier.check_same_points(own)
        factors = {
            representations: stack.enter_context(store.opened(path, "factors"))
            for representations, path in zip(
                [*earlier.paths, paths.own], [*paths.get("earlier_factors", []), paths.own_factors], strict=True
            )
        }
        pairs, spectra = scoring.score_pairs(
            earlier.runs,
            own.runs,
            factors,
            section,
            within=len(settings) == 1,
            label=f"score {'/'.join(snakemake.wildcards)}",
        )
        scoring.write_scores(snakemake.output[0], pairs, spectra, snakemake.params.section)
