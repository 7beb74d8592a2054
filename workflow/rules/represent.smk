rule represent:
    input:
        weights=f"{R}/runs/{{study}}/{{setting}}/{{block}}/weights.safetensors",
        data=setting_data,
    output:
        f"{R}/representations/{{study}}/{{setting}}/{{block}}.h5",
    log:
        f"{R}/logs/represent/{{study}}/{{setting}}/{{block}}.log",
    benchmark:
        f"{R}/benchmarks/represent/{{study}}/{{setting}}/{{block}}.tsv"
    wildcard_constraints:
        study=OTHER_STUDIES,
    conda:
        ENVIRONMENT
    threads: 1
    params:
        section=lambda wildcards: canonical(setting(wildcards).represent),
        code=lambda wildcards: code(
            "represent.py",
            *(f"models.{part.kind}" for part in networks(wildcards)),
            own=plugins_of(*networks(wildcards)),
        ),
    script:
        "../../scripts/represent.py"
