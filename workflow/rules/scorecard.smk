# Every claim of the papers (workflow/claims.yaml) against the tables of this configuration.
CLAIMS = os.path.relpath(Path(workflow.basedir) / "workflow" / "claims.yaml")


@cache
def scored_claims():
    """The claims as the scorecard is given them; read when asked for, since every job reads this file."""
    try:
        return claims.applied(claims.read(CLAIMS), CONFIG, STUDIES)
    except ConfigError as error:
        raise WorkflowError(f"The claims have a problem:\n{error}") from None


def scored_tables(wildcards=None):
    return [f"{R}/{table}" for table in claims.tables(scored_claims())]


def scorecard_files(wildcards=None):
    """The scorecard, where any claim is of a figure of the configuration."""
    return [f"{R}/scorecard.csv", f"{R}/scorecard.md"] if scored_tables() else []


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
    resources:
        mem_mb=memory(2000),
    params:
        section=lambda wildcards: canonical(scored_claims()),
        code=code("scorecard.py"),
    script:
        "../../scripts/scorecard.py"
