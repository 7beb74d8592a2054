# repalign: download -> prepare -> train -> represent -> factor -> score -> table -> plot.
# What is made is in config.yaml; how, in workflow/rules (one file a stage) and scripts (one a rule).
from snakemake.utils import min_version

min_version("9.0")


configfile: "config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/download.smk"
include: "workflow/rules/prepare.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/represent.smk"
include: "workflow/rules/language.smk"
include: "workflow/rules/dynamics.smk"
include: "workflow/rules/given.smk"
include: "workflow/rules/factor.smk"
include: "workflow/rules/score.smk"
include: "workflow/rules/table.smk"
include: "workflow/rules/plot.smk"
include: "workflow/rules/scorecard.smk"
include: "workflow/rules/report.smk"


# Snakemake 9 looks again at what is ready a second after every look, for a limit of jobs a second that no local run
# comes near; each finished job adds a look that repeats until the end, and after 300 jobs they fill a core. On a
# cluster the limit spares its controller.
onstart:
    if workflow.local_exec:
        workflow.scheduler.job_rate_limiter = None


rule all:
    default_target: True
    input:
        ALL_FIGURES,
        ALL_RESULTS,
        scorecard_files,


# The figures alone: what lies between may have been deleted to save space.
rule figures:
    input:
        ALL_FIGURES,
