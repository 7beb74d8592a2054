# Studies of dynamics: networks recorded at every epoch, and the effective theory fitted to them.
rule train_dynamics:
    input:
        unpack(dynamics_data),
    output:
        history=f"{R}/runs/{{study}}/{{setting}}/{{block}}/history.h5",
    log:
        f"{R}/logs/train/{{study}}/{{setting}}/{{block}}.log",
    benchmark:
        f"{R}/benchmarks/train/{{study}}/{{setting}}/{{block}}.tsv"
    wildcard_constraints:
        study=DYNAMICS_STUDIES,
    conda:
        ENVIRONMENT
    threads: 1
    params:
        section=lambda wildcards: canonical(trained_dynamics(setting(wildcards))),
        seeds=lambda wildcards: canonical(seeds=seeds(wildcards)),
        code=code("train_dynamics.py"),
    script:
        "../../scripts/train_dynamics.py"


rule fit_dynamics:
    input:
        lambda wildcards: [file for files in histories(wildcards.study).values() for file in files],
    output:
        fits=report(
            f"{R}/dynamics/{{study}}/fits.csv",
            caption="../report/pages/fits.rst",
            category="Studies",
            labels={"study": "{study}", "table": "fits", "scale": CONFIG.scale},
        ),
    log:
        f"{R}/logs/fit/{{study}}.log",
    benchmark:
        f"{R}/benchmarks/fit/{{study}}.tsv"
    wildcard_constraints:
        study=DYNAMICS_STUDIES,
    conda:
        ENVIRONMENT
    threads: 1
    params:
        section=lambda wildcards: canonical(
            {
                name: {"fit": STUDIES[wildcards.study].settings[name].fit.model_dump(), "histories": files}
                for name, files in histories(wildcards.study).items()
            }
        ),
        code=code("fit_dynamics.py"),
    script:
        "../../scripts/fit_dynamics.py"


# Other studies, where a setting has a section `fit`: the theory at the checkpoints that are represented.
rule fit_checkpoints:
    input:
        lambda wildcards: sorted(set(leaves(checkpoint_fits(wildcards.study)))),
    output:
        fits=report(
            f"{R}/dynamics/{{study}}/fits.csv",
            caption="../report/pages/fits.rst",
            category="Studies",
            labels={"study": "{study}", "table": "fits", "scale": CONFIG.scale},
        ),
    log:
        f"{R}/logs/fit/{{study}}.log",
    benchmark:
        f"{R}/benchmarks/fit/{{study}}.tsv"
    wildcard_constraints:
        study=OTHER_STUDIES,
    conda:
        ENVIRONMENT
    threads: 1
    params:
        section=lambda wildcards: canonical(checkpoint_fits(wildcards.study)),
        code=code("fit_checkpoints.py"),
    script:
        "../../scripts/fit_checkpoints.py"
