rule factor:
    input:
        f"{R}/representations/{{study}}/{{setting}}/{{block}}.h5",
    output:
        factors=f"{R}/factors/{{study}}/{{setting}}/{{block}}/factors.h5",
        runs=f"{R}/factors/{{study}}/{{setting}}/{{block}}/runs.csv",
    log:
        f"{R}/logs/factor/{{study}}/{{setting}}/{{block}}.log",
    benchmark:
        f"{R}/benchmarks/factor/{{study}}/{{setting}}/{{block}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    params:
        section=lambda wildcards: canonical(
            {key: getattr(setting(wildcards).score, key) for key in ("folds", "seed", "device")}
        ),
        code=code("factor.py"),
    script:
        "../../scripts/factor.py"
