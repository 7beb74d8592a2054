rule prepare:
    input:
        unpack(source_files),
    output:
        R + "/data/{dataset}.h5",
    log:
        R + "/logs/prepare/{dataset}.log",
    benchmark:
        R + "/benchmarks/prepare/{dataset}.tsv"
    params:
        section=lambda wildcards: canonical(CONFIG.datasets[wildcards.dataset]),
        code=lambda wildcards: code("prepare.py", f"datasets.{CONFIG.datasets[wildcards.dataset].kind}"),
    threads: 1
    resources:
        mem_mb=2000,
    conda:
        ENVIRONMENT
    script:
        "../../scripts/prepare.py"
