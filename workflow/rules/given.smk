# Representations that were made elsewhere: no data set and no training, one job a file. Params that are made from
# `input` are no trigger, so `contents` asks for the files by itself.
rule represent_given:
    input:
        unpack(given_files),
    output:
        f"{R}/representations/{{study}}/{{setting}}/{{block}}.h5",
    log:
        f"{R}/logs/represent/{{study}}/{{setting}}/{{block}}.log",
    benchmark:
        f"{R}/benchmarks/represent/{{study}}/{{setting}}/{{block}}.tsv"
    wildcard_constraints:
        study=GIVEN_STUDIES,
    conda:
        ENVIRONMENT
    threads: 1
    params:
        section=lambda wildcards: canonical({"arrays": setting(wildcards).arrays, "ids": setting(wildcards).ids}),
        seeds=lambda wildcards: canonical(seeds=seeds(wildcards)),
        contents=lambda wildcards: contents(given_files(wildcards).values()),
        code=code("represent_given.py"),
    script:
        "../../scripts/represent_given.py"


# Models that were trained elsewhere, one job a model: a module of the user's own, or a vision model of transformers.
rule represent_pretrained:
    input:
        unpack(pretrained_files),
    output:
        f"{R}/representations/{{study}}/{{setting}}/{{block}}.h5",
    log:
        f"{R}/logs/represent/{{study}}/{{setting}}/{{block}}.log",
    benchmark:
        f"{R}/benchmarks/represent/{{study}}/{{setting}}/{{block}}.tsv"
    wildcard_constraints:
        study=PRETRAINED_STUDIES,
    conda:
        ENVIRONMENT
    threads: 1
    params:
        section=pretrained_section,
        seeds=lambda wildcards: canonical(seeds=seeds(wildcards)),
        contents=lambda wildcards: contents(pretrained_files(wildcards).values()),
        code=lambda wildcards: code("represent_pretrained.py", own=plugins_of(*pretrained_parts(wildcards))),
    script:
        "../../scripts/represent_pretrained.py"
