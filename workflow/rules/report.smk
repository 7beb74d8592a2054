# The pages of the report beside figures and tables (REPORT_PAGES in common.smk). Snakemake's --report puts all into one
# file (make report).


report: "../report/pages/front.rst"


localrules:
    resolved_config,
    run_times,
    report_page,


rule resolved_config:
    output:
        f"{R}/report/config.yaml",
    log:
        f"{R}/logs/report/config.log",
    benchmark:
        f"{R}/benchmarks/report/config.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    params:
        section=lambda wildcards: resolved(),
        code=code("resolved_config.py"),
    script:
        "../../scripts/resolved_config.py"


# Benchmarks are no inputs: what made the results is known once these are there.
rule run_times:
    input:
        lambda wildcards: ALL_FIGURES + ALL_RESULTS,  # read when asked for, since every job reads this file
    output:
        stages=f"{R}/report/stages.csv",
        figures=f"{R}/report/figures.csv",
        slowest=f"{R}/report/slowest.csv",
    log:
        f"{R}/logs/report/run_times.log",
    benchmark:
        f"{R}/benchmarks/report/run_times.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    params:
        folder=f"{R}/benchmarks",
        scale=CONFIG.scale,
        figures=lambda wildcards: canonical(figure_sources()),
        code=code("run_times.py"),
    script:
        "../../scripts/run_times.py"


rule report_page:
    input:
        report_parts,
    output:
        report(
            f"{R}/report/{{page}}.html",
            category=lambda wildcards: REPORT_PAGES[wildcards.page][0],
            labels=lambda wildcards: {"page": REPORT_PAGES[wildcards.page][1], "scale": CONFIG.scale},
        ),
    log:
        f"{R}/logs/report/{{page}}.log",
    benchmark:
        f"{R}/benchmarks/report/{{page}}.tsv"
    wildcard_constraints:
        page="|".join(REPORT_PAGES),
    conda:
        ENVIRONMENT
    threads: 1
    params:
        title=lambda wildcards: REPORT_PAGES[wildcards.page][1],
        parts=lambda wildcards: canonical(parts=REPORT_PAGES[wildcards.page][2]),
        code=code("report_page.py"),
    script:
        "../../scripts/report_page.py"


# Everything that the report holds.
rule report_pages:
    input:
        lambda wildcards: ALL_FIGURES + ALL_RESULTS,
        lambda wildcards: [
            f"{R}/report/{page}.html" for page in REPORT_PAGES if page != "scorecard" or scorecard_files()
        ],
