rule download:
    output:
        f"{R}/downloads/{{file}}",
    log:
        f"{R}/logs/download/{{file}}.log",
    benchmark:
        f"{R}/benchmarks/download/{{file}}.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mirror=CONFIG.download.mirror or "",
        timeout=lambda wildcards: f"{CONFIG.download.timeout}",
        attempts=CONFIG.download.attempts,
    params:
        # Address and digest: a change of either fetches again. The mirror, the time limit and the number of attempts
        # are resources, which are no trigger: where the same bytes come from makes no difference.
        section=lambda wildcards: canonical(remote_file(wildcards)),
        code=code("download.py"),
    script:
        "../../scripts/download.py"
