# The checked configuration, the paths of all results, and what each rule is given.
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

# The library that is fingerprinted is the one beside this Snakefile, and jobs run that very one.
LIBRARY = Path(workflow.basedir) / "src"
sys.path.insert(0, str(LIBRARY))
os.environ.update(PYTHONPATH=os.pathsep.join([str(LIBRARY), *filter(None, [os.environ.get("PYTHONPATH")])]))

from repalign.config import canonical, load
from repalign.errors import ConfigError
from repalign.fingerprint import fingerprint

try:
    CONFIG, STUDIES = load(config)
except ConfigError as error:
    raise WorkflowError(f"The configuration has a problem:\n{error}") from None

R = CONFIG.results
ENVIRONMENT = "../../environment.yml"


wildcard_constraints:
    file=r".+",
    dataset=r"[^/]+",
    study=r"[^/]+",
    setting=r"[^/]+",
    pairing=r"[^/]+",
    block=r"seeds-\d+-\d+",


def code(script, *modules):
    """What a rule's script runs; `modules` are those that it imports by name."""
    return fingerprint(Path(workflow.basedir) / "scripts" / script, *(f"repalign.{module}" for module in modules))


def setting(wildcards):
    try:
        return STUDIES[wildcards.study].settings[wildcards.setting]
    except KeyError:
        raise WorkflowError(f"no setting '{wildcards.setting}' in a study '{wildcards.study}' of the configuration")


def seeds(wildcards):
    blocks = setting(wildcards).seeds.blocks()
    if wildcards.block not in blocks:
        raise WorkflowError(f"{wildcards.study}/{wildcards.setting} has the seed blocks {', '.join(blocks)}")
    return blocks[wildcards.block]


# --- paths --------------------------------------------------------------------------------------------------------


def dataset_file(name):
    return f"{R}/data/{name}.h5"


def setting_data(wildcards):
    return dataset_file(setting(wildcards).data.dataset)


def source_files(wildcards):
    if wildcards.dataset not in CONFIG.datasets:
        raise WorkflowError(f"no data set '{wildcards.dataset}' in the configuration")
    return {role: f"{R}/downloads/{file}" for role, file in CONFIG.datasets[wildcards.dataset].files().items()}


def representation_files(study, name):
    return [f"{R}/representations/{study}/{name}/{block}.h5" for block in STUDIES[study].settings[name].seeds.blocks()]


def paired_settings(pairing):
    return pairing.split("--")


def pairing_representations(wildcards):
    names = paired_settings(wildcards.pairing)
    try:
        found = [representation_files(wildcards.study, name) for name in names]
    except KeyError:
        raise WorkflowError(f"no settings '{wildcards.pairing}' in a study '{wildcards.study}' of the configuration")
    return {"first": found[0], "second": found[1]} if len(names) == 2 else {"first": found[0]}


def score_file(study, pairing, table):
    return f"{R}/scores/{study}/{pairing}/{table}.csv"


def pairings(study):
    return [*STUDIES[study].settings, *("--".join(pair) for pair in CONFIG.studies[study].across)]


def remote_file(wildcards):
    if wildcards.file not in CONFIG.download.files:
        raise WorkflowError(f"download.files of the configuration has no entry '{wildcards.file}'")
    return CONFIG.download.files[wildcards.file]


# --- figures ------------------------------------------------------------------------------------------------------


def setting_files(study, name):
    return {
        "setting": name,
        "data": dataset_file(STUDIES[study].settings[name].data.dataset),
        "representations": representation_files(study, name),
        **score_files(study, name),
    }


def score_files(study, pairing):
    return {table: score_file(study, pairing, table) for table in ("pairs", "runs", "summary")}


def figure_files(figure):
    """The result files that a figure draws, by what they are for."""
    if figure.plot == "roeder2021_fig2":
        return {
            "panels": [setting_files(figure.study, name) for name in figure.panels],
            "sweeps": {
                sweep: {
                    start: [
                        {"setting": name, "value": value, **score_files(figure.study, name)}
                        for value, name in STUDIES[figure.study].sweeps[sweep][start].items()
                    ]
                    for start in STUDIES[figure.study].sweeps[sweep]
                }
                for sweep in figure.sweeps
            },
        }
    return {
        "studies": {
            study: [
                {
                    "pairing": pairing,
                    "dataset": STUDIES[study].settings[paired_settings(pairing)[0]].data.dataset,
                    **score_files(study, pairing),
                }
                for pairing in pairings(study)
            ]
            for study in figure.studies
        }
    }


def leaves(node):
    """All result files in what `figure_files` gives."""
    if isinstance(node, dict):
        return [leaf for value in node.values() for leaf in leaves(value)]
    if isinstance(node, list):
        return [leaf for value in node for leaf in leaves(value)]
    return [node] if isinstance(node, str) and node.startswith(f"{R}/") else []


def figure_inputs(figure):
    return sorted(set(leaves(figure_files(figure))))


def study_results(study):
    """Every result of a study, so that one that was deleted is made again."""
    blocks = [(name, block) for name, found in STUDIES[study].settings.items() for block in found.seeds.blocks()]
    runs = [f"{R}/runs/{study}/{name}/{block}" for name, block in blocks]
    return [
        *(f"{run}/{file}" for run in runs for file in ("weights.safetensors", "history.h5")),
        *(f"{R}/representations/{study}/{name}/{block}.h5" for name, block in blocks),
        *(file for pairing in pairings(study) for file in score_files(study, pairing).values()),
    ]


ALL_FIGURES = [f"{R}/figures/{name}.{kind}" for name in CONFIG.figures for kind in ("pdf", "png", "csv", "rst")]
ALL_RESULTS = [file for study in STUDIES for file in study_results(study)]
