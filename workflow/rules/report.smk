# The pages of the report beside figures and tables. Snakemake's --report puts all into one file (make report).


report: "../report/pages/front.rst"


MADE = "How it was made"
# A page: its category, its title, and what it holds: tables (csv) under their headings, text (Markdown), settings (YAML).
REPORT_PAGES = {
    "config": (MADE, "The configuration as it was resolved", [("", f"{R}/report/config.yaml")]),
    "run_times": (
        MADE,
        "Run times",
        [
            ("By stage (seconds; memory in MB)", f"{R}/report/stages.csv"),
            ("By figure, from nothing (sums over jobs)", f"{R}/report/figures.csv"),
            ("The slowest jobs", f"{R}/report/slowest.csv"),
        ],
    ),
}


def report_parts(wildcards):
    return [file for _, file in REPORT_PAGES[wildcards.page][2]]


def resolved():
    """The configuration with defaults, and each study by its settings instead of by what they are made from."""
    whole = CONFIG.model_dump(exclude_none=True, exclude={"studies"})
    studies = {name: expansion.model_dump(exclude_none=True) for name, expansion in STUDIES.items()}
    return canonical(whole, studies=studies)


def figure_sources():
    """The studies of every figure, and the data sets of these."""
    found = {}
    for name, figure in CONFIG.figures.items():
        studies = figure_studies(figure)
        sections = [getattr(own, "data", None) for study in studies for own in STUDIES[study].settings.values()]
        datasets = {getattr(section, "dataset", None) for section in sections} - {None}
        found[name] = {"studies": studies, "datasets": sorted(datasets)}
    return found


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
    resources:
        mem_mb=memory(500),
    params:
        section=resolved(),
        code=code("resolved_config.py"),
    script:
        "../../scripts/resolved_config.py"


# Benchmarks are no inputs: what made the results is known once these are there.
rule run_times:
    input:
        ALL_FIGURES,
        ALL_RESULTS,
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
    resources:
        mem_mb=memory(500),
    params:
        folder=f"{R}/benchmarks",
        scale=CONFIG.scale,
        figures=canonical(figure_sources()),
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
    resources:
        mem_mb=memory(500),
    params:
        title=lambda wildcards: REPORT_PAGES[wildcards.page][1],
        parts=lambda wildcards: canonical(parts=REPORT_PAGES[wildcards.page][2]),
        code=code("report_page.py"),
    script:
        "../../scripts/report_page.py"


# Everything that the report holds.
rule report_pages:
    input:
        ALL_FIGURES,
        ALL_RESULTS,
        expand(f"{R}/report/{{page}}.html", page=REPORT_PAGES),
