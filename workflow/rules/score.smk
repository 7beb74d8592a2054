# A pairing is a setting, whose runs are compared with each other, or two settings joined by "--".
rule score:
    input:
        unpack(paired_files),
    output:
        f"{R}/scores/{{study}}/{{pairing}}/{{block}}.h5",
    log:
        f"{R}/logs/score/{{study}}/{{pairing}}/{{block}}.log",
    benchmark:
        f"{R}/benchmarks/score/{{study}}/{{pairing}}/{{block}}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    params:
        section=lambda wildcards: canonical(pair_score(wildcards)),
        settings=lambda wildcards: canonical(settings=paired_settings(wildcards.pairing)),
        code=lambda wildcards: code("score.py", own=own_measures(pair_score(wildcards).measures)),
    script:
        "../../scripts/score.py"
