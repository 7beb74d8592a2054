REPORTED = ("summary", "runs")  # tables that the report holds; that of all pairs may be large


rule table:
    input:
        scores=lambda wildcards: score_files(wildcards.study),
        runs=lambda wildcards: run_tables(wildcards.study),
    output:
        **{table: f"{R}/scores/{{study}}/{file}" for table, file in TABLES.items() if table not in REPORTED},
        **{
            table: report(
                f"{R}/scores/{{study}}/{TABLES[table]}",
                caption=f"../report/pages/{table}.rst",
                category="Studies",
                labels={"study": "{study}", "table": table, "scale": CONFIG.scale},
            )
            for table in REPORTED
        },
    log:
        f"{R}/logs/table/{{study}}.log",
    benchmark:
        f"{R}/benchmarks/table/{{study}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    params:
        section=lambda wildcards: canonical(confidence=CONFIG.studies[wildcards.study].score.confidence),
        code=lambda wildcards: code("table.py", own=own_measures(study_measures(wildcards.study))),
    script:
        "../../scripts/table.py"
