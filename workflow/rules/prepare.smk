rule prepare:
    input:
        unpack(source_files),
    output:
        f"{R}/data/{{dataset}}.h5",
    log:
        f"{R}/logs/prepare/{{dataset}}.log",
    benchmark:
        f"{R}/benchmarks/prepare/{{dataset}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    params:
        section=lambda wildcards: canonical(CONFIG.datasets[wildcards.dataset]),
        contents=dataset_contents,
        packages=lambda wildcards: canonical(package_versions(wildcards)),
        code=lambda wildcards: code(
            "prepare.py",
            f"datasets.{CONFIG.datasets[wildcards.dataset].kind}",
            own=plugins_of(CONFIG.datasets[wildcards.dataset]),
        ),
    script:
        "../../scripts/prepare.py"
