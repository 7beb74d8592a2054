rule train:
    input:
        data=setting_data,
    output:
        weights=f"{R}/runs/{{study}}/{{setting}}/{{block}}/weights.safetensors",
        history=f"{R}/runs/{{study}}/{{setting}}/{{block}}/history.h5",
    log:
        f"{R}/logs/train/{{study}}/{{setting}}/{{block}}.log",
    benchmark:
        f"{R}/benchmarks/train/{{study}}/{{setting}}/{{block}}.tsv"
    wildcard_constraints:
        study=OTHER_STUDIES,
    conda:
        ENVIRONMENT
    threads: 1
    params:
        section=lambda wildcards: canonical(train=setting(wildcards).train, n_train=setting(wildcards).data.n_train),
        seeds=lambda wildcards: canonical(seeds=seeds(wildcards)),
        code=lambda wildcards: code(
            "train.py",
            *(f"models.{part.kind}" for part in networks(wildcards)),
            own=plugins_of(*networks(wildcards)),
        ),
    script:
        "../../scripts/train.py"
