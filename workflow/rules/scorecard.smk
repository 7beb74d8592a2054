# Every claim of the papers (workflow/claims.yaml) against the tables of this configuration.
rule scorecard:
    input:
        scored_tables,
    output:
        csv=f"{R}/scorecard.csv",
        page=f"{R}/scorecard.md",
    log:
        f"{R}/logs/scorecard.log",
    benchmark:
        f"{R}/benchmarks/scorecard.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    params:
        section=lambda wildcards: canonical(scored_claims()),
        code=code("scorecard.py"),
    script:
        "../../scripts/scorecard.py"
