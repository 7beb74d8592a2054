# Language models: fetched from a hub, or small ones trained here, and the hidden states of either.
rule fetch_model:
    output:
        directory(f"{R}/models/{{model}}"),
    log:
        f"{R}/logs/fetch_model/{{model}}.log",
    benchmark:
        f"{R}/benchmarks/fetch_model/{{model}}.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        hub=CONFIG.download.models or "",
    params:
        section=lambda wildcards: canonical(hub_model(wildcards)),
        code=code("fetch_model.py"),
    script:
        "../../scripts/fetch_model.py"


rule train_language:
    input:
        data=setting_data,
    output:
        models=directory(f"{R}/runs/{{study}}/{{setting}}/{{block}}/models"),
        history=f"{R}/runs/{{study}}/{{setting}}/{{block}}/history.h5",
    log:
        f"{R}/logs/train/{{study}}/{{setting}}/{{block}}.log",
    benchmark:
        f"{R}/benchmarks/train/{{study}}/{{setting}}/{{block}}.tsv"
    wildcard_constraints:
        study=LANGUAGE_STUDIES,
    conda:
        ENVIRONMENT
    threads: 1
    params:
        section=lambda wildcards: canonical(model=setting(wildcards).model, train=setting(wildcards).train),
        seeds=lambda wildcards: canonical(seeds=seeds(wildcards)),
        code=code("train_language.py"),
    script:
        "../../scripts/train_language.py"


rule represent_language:
    input:
        unpack(language_models),
        data=setting_data,
    output:
        f"{R}/representations/{{study}}/{{setting}}/{{block}}.h5",
    log:
        f"{R}/logs/represent/{{study}}/{{setting}}/{{block}}.log",
    benchmark:
        f"{R}/benchmarks/represent/{{study}}/{{setting}}/{{block}}.tsv"
    wildcard_constraints:
        study=LANGUAGE_STUDIES,
    conda:
        ENVIRONMENT
    threads: 1
    params:
        section=lambda wildcards: canonical(setting(wildcards).represent),
        runs=lambda wildcards: canonical(language_runs(wildcards)),
        contents=language_contents,
        code=code("represent_language.py"),
    script:
        "../../scripts/represent_language.py"
