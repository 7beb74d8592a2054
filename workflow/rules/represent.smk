rule represent:
    input:
        weights=R + "/runs/{study}/{setting}/{block}/weights.safetensors",
        data=setting_data,
    output:
        R + "/representations/{study}/{setting}/{block}.h5",
    log:
        R + "/logs/represent/{study}/{setting}/{block}.log",
    benchmark:
        R + "/benchmarks/represent/{study}/{setting}/{block}.tsv"
    params:
        section=lambda wildcards: canonical(setting(wildcards).represent),
        code=lambda wildcards: code(
            "represent.py",
            f"models.{setting(wildcards).train.encoder.kind}",
            f"models.{setting(wildcards).train.decoder.kind}",
        ),
    threads: 1
    resources:
        mem_mb=4000,
    conda:
        ENVIRONMENT
    script:
        "../../scripts/represent.py"
