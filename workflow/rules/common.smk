# The checked configuration, the paths of all results, and what each rule is given.
import os
import re
import sys
from functools import cache
from importlib.metadata import packages_distributions, version
from pathlib import Path

from snakemake.exceptions import WorkflowError

# The library that is fingerprinted is the one beside this Snakefile, and jobs run that very one.
LIBRARY = Path(workflow.basedir) / "src"
sys.path.insert(0, str(LIBRARY))
os.environ.update(PYTHONPATH=os.pathsep.join([str(LIBRARY), *filter(None, [os.environ.get("PYTHONPATH")])]))

from repalign import claims
from repalign.config import (
    DynamicsStudy,
    GivenStudy,
    HubModel,
    LanguageStudy,
    ModelFolder,
    PretrainedStudy,
    SmallGpt2,
    canonical,
    load,
)
from repalign.contents import Contents
from repalign.errors import ConfigError
from repalign.fingerprint import fingerprint, of_plugin

try:
    CONFIG, STUDIES = load(config)
except ConfigError as error:
    raise WorkflowError(f"The configuration has a problem:\n{error}") from None

R = CONFIG.results
ENVIRONMENT = "../../environment.yml"
REFERENCE = Path(os.path.relpath(Path(workflow.basedir) / "workflow" / "reference"))


wildcard_constraints:
    file=r".+",
    dataset=r"[^/]+",
    study=r"[^/]+",
    setting=r"[^/]+",
    pairing=r"[^/]+",
    block=r"seeds-\d+-\d+",


# What is asked once a job is made once (`cache`): 10,000 runs are as many jobs.
@cache
def code(script, *modules, own=()):
    """What a rule's script runs; `modules` are those that it imports by name; own: functions, `module:function`."""
    made = fingerprint(Path(workflow.basedir) / "scripts" / script, *(f"repalign.{module}" for module in modules))
    return " ".join([made, *map(plugin, dict.fromkeys(own))])


@cache
def plugin(path):
    """The user's own function `module:function` and what it imports."""
    try:
        return of_plugin(path)
    except (FileNotFoundError, SyntaxError, UnicodeDecodeError) as error:
        raise WorkflowError(f"{path}: {error}") from None


def plugins_of(*parts):
    """The functions of the user's own among sections of the configuration."""
    return tuple(part.call for part in parts if hasattr(part, "call"))


def own_measures(measures):
    return tuple(name for name in measures if ":" in name)


def networks(wildcards):
    """The encoder and the decoder of a setting."""
    return setting(wildcards).train.encoder, setting(wildcards).train.decoder


def setting(wildcards):
    try:
        return STUDIES[wildcards.study].settings[wildcards.setting]
    except KeyError:
        raise WorkflowError(f"no setting '{wildcards.setting}' in a study '{wildcards.study}' of the configuration")


@cache
def blocks(study, name):
    """The seeds of each job of a setting, by the name of their block."""
    return STUDIES[study].settings[name].seeds.blocks()


def seeds(wildcards):
    setting(wildcards)  # or an error that names it
    own = blocks(wildcards.study, wildcards.setting)
    if wildcards.block not in own:
        raise WorkflowError(f"{wildcards.study}/{wildcards.setting} has the seed blocks {', '.join(own)}")
    return own[wildcards.block]


# --- paths --------------------------------------------------------------------------------------------------------


def dataset_file(name):
    return f"{R}/data/{name}.h5"


def setting_data(wildcards):
    return dataset_file(setting(wildcards).data.dataset)


def source_files(wildcards):
    if wildcards.dataset not in CONFIG.datasets:
        raise WorkflowError(f"no data set '{wildcards.dataset}' in the configuration")
    found = CONFIG.datasets[wildcards.dataset]
    fetched = {role: f"{R}/downloads/{file}" for role, file in found.files().items()}
    return fetched | {role: own_files(wildcards.dataset, role, path) for role, path in found.paths().items()}


distributions = cache(packages_distributions)  # looks through all that is installed


def package_versions(wildcards):
    """Versions of the installed packages that a data set is made of: another one makes it anew."""
    names = distributions()
    found = CONFIG.datasets[wildcards.dataset].from_packages() if wildcards.dataset in CONFIG.datasets else []
    return {name: version(names[name][0]) if name in names else "" for name in found}


def own_files(name, role, path, part="datasets"):
    """A file of the user's own, or all of a folder, each of which counts: one added, changed or gone reruns."""
    if not Path(path).exists():
        raise WorkflowError(f"{part}.{name}.{role}: no file, folder or archive '{path}'")
    if not Path(path).is_dir():
        return own_path(path)
    return [own_path(str(file)) for file in sorted(Path(path).rglob("*")) if file.is_file()]


def own_path(path):
    """The path of a file of the user's own."""
    if "{" in path or "}" in path:
        raise WorkflowError(f"{path}: Snakemake takes braces in the name of a file for wildcards; rename it")
    return path


CONTENTS = Contents(".snakemake/repalign/contents.json")


def contents(files):
    """What files of the user's own hold: one digest of all, for the params of a rule."""
    return CONTENTS.digest(leaf for part in files for leaf in ([part] if isinstance(part, str) else part))


def dataset_contents(wildcards):
    """What the files hold that a data set is made of, as far as they are the user's own."""
    found = CONFIG.datasets[wildcards.dataset].paths() if wildcards.dataset in CONFIG.datasets else {}
    return contents(own_files(wildcards.dataset, role, path) for role, path in found.items())


@cache
def representation_files(study, name):
    return [f"{R}/representations/{study}/{name}/{block}.h5" for block in blocks(study, name)]


@cache
def factor_files(study, name, table="factors.h5"):
    return [f"{R}/factors/{study}/{name}/{block}/{table}" for block in blocks(study, name)]


def paired_settings(pairing):
    return pairing.split("--")


# A job scores the runs of one block with all runs before them: of the same setting, or of the first of two.
def paired_files(wildcards):
    names = paired_settings(wildcards.pairing)
    study = STUDIES.get(wildcards.study)
    if study is None or any(name not in study.settings for name in names):
        raise WorkflowError(f"no settings '{wildcards.pairing}' in a study '{wildcards.study}' of the configuration")
    own = list(blocks(wildcards.study, names[-1]))
    if wildcards.block not in own:
        raise WorkflowError(f"{wildcards.study}/{names[-1]} has the seed blocks {', '.join(own)}")
    place = own.index(wildcards.block)
    earlier = slice(place) if len(names) == 1 else slice(None)
    return {
        "earlier": representation_files(wildcards.study, names[0])[earlier],
        "earlier_factors": factor_files(wildcards.study, names[0])[earlier],
        "own": representation_files(wildcards.study, names[-1])[place],
        "own_factors": factor_files(wildcards.study, names[-1])[place],
    }


def pair_score(wildcards):
    """How a pairing is scored: every layer with every layer where both settings ask for it."""
    scores = [STUDIES[wildcards.study].settings[name].score for name in paired_settings(wildcards.pairing)]
    return next((score for score in scores if score.layers == "same"), scores[0])


def study_measures(study):
    return list(dict.fromkeys(name for own in STUDIES[study].settings.values() for name in own.score.measures))


def figure_measures(figure):
    return getattr(figure, "measures", None) or [getattr(figure, "measure", "")]


def pairings(study):
    return [*STUDIES[study].settings, *("--".join(pair) for pair in STUDIES[study].across)]


def score_files(study):
    return [
        f"{R}/scores/{study}/{pairing}/{block}.h5"
        for pairing in pairings(study)
        for block in blocks(study, paired_settings(pairing)[-1])
    ]


def run_tables(study):
    return [file for name in STUDIES[study].settings for file in factor_files(study, name, "runs.csv")]


TABLES = {
    "pairs": "pairs.csv",
    "pairs_hdf5": "pairs.h5",
    "spectra": "spectra.h5",
    "summary": "summary.csv",
    "runs": "runs.csv",
}


def study_tables(study, *names):
    return {table: f"{R}/scores/{study}/{TABLES[table]}" for table in names or TABLES}


def remote_file(wildcards):
    if wildcards.file not in CONFIG.download.files:
        raise WorkflowError(f"download.files of the configuration has no entry '{wildcards.file}'")
    return CONFIG.download.files[wildcards.file]


# --- language models ----------------------------------------------------------------------------------------------

LANGUAGE = [name for name, study in CONFIG.studies.items() if isinstance(study, LanguageStudy)]
# Studies of language models have rules of their own for the stages train and represent.
LANGUAGE_STUDIES = "|".join(map(re.escape, LANGUAGE)) or "(?!)"
DYNAMICS = [name for name, study in CONFIG.studies.items() if isinstance(study, DynamicsStudy)]
DYNAMICS_STUDIES = "|".join(map(re.escape, DYNAMICS)) or "(?!)"
GIVEN = [name for name, study in CONFIG.studies.items() if isinstance(study, GivenStudy)]
GIVEN_STUDIES = "|".join(map(re.escape, GIVEN)) or "(?!)"
PRETRAINED = [name for name, study in CONFIG.studies.items() if isinstance(study, PretrainedStudy)]
PRETRAINED_STUDIES = "|".join(map(re.escape, PRETRAINED)) or "(?!)"
OTHER_STUDIES = (
    "|".join(re.escape(name) for name in STUDIES if name not in LANGUAGE + DYNAMICS + GIVEN + PRETRAINED) or "(?!)"
)
HUB_MODELS = {
    model.folder: model
    for study in LANGUAGE + PRETRAINED
    for found in STUDIES[study].settings.values()
    for model in (found.runs if study in PRETRAINED else [found.model])
    if isinstance(model, HubModel)
}


def hub_model(wildcards):
    if wildcards.model not in HUB_MODELS:
        raise WorkflowError(f"no hub model '{wildcards.model}' in the configuration")
    return HUB_MODELS[wildcards.model]


def language_models(wildcards):
    """The files of a setting's models, by what they are for."""
    run = f"{R}/runs/{wildcards.study}/{wildcards.setting}/{wildcards.block}"
    model = setting(wildcards).model
    if isinstance(model, HubModel):
        return {"models": ancient(f"{R}/models/{model.folder}")}  # a revision never changes
    if isinstance(model, ModelFolder):
        return {"models": [own_path(file) for file in model.files()]}
    # The history holds a digest of the models; the time stamp of a folder says nothing.
    return {"models": ancient(f"{run}/models"), "history": f"{run}/history.h5"}


def language_contents(wildcards):
    """What the files of a model hold that the user brought."""
    brought = isinstance(setting(wildcards).model, ModelFolder)
    return contents(language_models(wildcards)["models"]) if brought else ""


def language_runs(wildcards):
    """Where a setting's models lie: the folder of one, or that of all seeds and steps."""
    model = setting(wildcards).model
    if isinstance(model, ModelFolder):
        return {"folder": model.path, "seeds": seeds(wildcards)}
    found = {"folder": str(language_models(wildcards)["models"]), "seeds": seeds(wildcards)}
    return found if isinstance(model, HubModel) else found | {"steps": setting(wildcards).train.saved_steps()}


# --- representations made elsewhere -------------------------------------------------------------------------------


def given_files(wildcards):
    """The file of a run, and that of the identifiers where there is one."""
    found = setting(wildcards)
    (run,) = seeds(wildcards)
    return {"run": found.runs[run]} | ({"ids": found.ids_file} if found.ids_file is not None else {})


# --- models trained elsewhere -------------------------------------------------------------------------------------


def pretrained_files(wildcards):
    """The files of a model, by what they are for, and the pictures that it is run on."""
    found = setting(wildcards)
    (run,) = seeds(wildcards)
    model, files = found.runs[run], {}
    if isinstance(model, HubModel):
        files["model"] = ancient(f"{R}/models/{model.folder}")  # a revision never changes
    elif isinstance(model, ModelFolder):
        files["model"] = [own_path(file) for file in model.files()]
    elif model.weights is not None:
        files["weights"] = own_path(model.weights)
    if found.probes.kind == "images":
        files["pictures"] = own_files(wildcards.study, "probes.path", found.probes.path, "studies")
    return files


def pretrained_section(wildcards):
    """What the model of a run is, where it lies, and what it is run on."""
    found = setting(wildcards)
    (run,) = seeds(wildcards)
    model = found.runs[run]
    if isinstance(model, HubModel):
        about = {"kind": "hub", "path": f"{R}/models/{model.folder}"}
    else:
        about = model.model_dump(exclude={"weights"})
    return canonical(found.model_dump(exclude={"runs", "score"}), model=about)


def pretrained_parts(wildcards):
    """The model of a run and what it is run on."""
    found = setting(wildcards)
    (run,) = seeds(wildcards)
    return found.runs[run], found.probes


# --- studies of dynamics ------------------------------------------------------------------------------------------


def dynamics_data(wildcards):
    """The data set of a setting, where it has one."""
    found = setting(wildcards).data
    return {"data": dataset_file(found.dataset)} if found.kind == "labels" else {}


def trained_dynamics(found):
    """The sections that training depends on, with the layers that are followed as numbers."""
    section = found.model_dump(include={"data", "model", "train", "record"})
    section["record"]["layers"] = found.recorded_layers()
    section["record"]["snapshots"] = sorted({0, found.train.epochs, *found.record.snapshots})
    return section


def histories(study, names=None):
    """The records of the runs of each setting."""
    settings = STUDIES[study].settings
    return {
        name: [f"{R}/runs/{study}/{name}/{block}/history.h5" for block in blocks(study, name)]
        for name in names or settings
    }


def fits(study):
    return f"{R}/dynamics/{study}/fits.csv"


def dynamics_figure_files(figure):
    """The result files of a figure of studies of dynamics, by what they are for."""
    if figure.plot == "vanrossem2024_alternatives":
        return {"fits": fits(figure.study), "histories": histories(figure.study, figure.settings)}
    if figure.plot in ("vanrossem2024_pairs", "vanrossem2024_structure"):
        files = {"fits": fits(figure.study), "histories": histories(figure.study, [figure.setting])}
        found = STUDIES[figure.study].settings[figure.setting]
        if figure.plot == "vanrossem2024_pairs":
            return files
        data, optimiser = found.data, found.train.optimiser.kind
        return files | {
            "data": dataset_file(data.dataset),
            "n_train": data.n_train,
            "probes": data.probes,
            "optimiser": optimiser,
        }
    if figure.plot == "vanrossem2024_depth_width":
        widths = {name: found.model.width for name, found in STUDIES[figure.widths].settings.items()}
        return {"depth": fits(figure.depth), "widths": fits(figure.widths), "width_of": widths}
    if figure.plot == "vanrossem2024_rich_lazy":
        made = STUDIES[figure.study].sweeps[figure.sweep]
        gains = {start: {name: gain for gain, name in points.items()} for start, points in made.items()}
        return {"fits": fits(figure.study), "gains": gains}
    drawn = figure.drawn(STUDIES[figure.study])
    if figure.plot == "vanrossem2024_context":
        own = {name: STUDIES[figure.study].settings[name] for name in drawn}
        found = {
            name: {
                "histories": files,
                "gain": own[name].model.gain,
                "activation": own[name].model.activation,
                "learning_rate": own[name].train.optimiser.learning_rate,
                "epochs": own[name].train.epochs,
            }
            for name, files in histories(figure.study, drawn).items()
        }
        return {"settings": found, "grid": own[drawn[0]].data.grid}
    if figure.plot == "vanrossem2024_xor":
        return {"fits": fits(figure.study), "rates": fits(figure.rates.study), "settings": drawn}
    if figure.plot == "vanrossem2024_final_distance":
        return {"fits": fits(figure.study), "settings": drawn}
    return {"fits": fits(figure.study), "histories": histories(figure.study, drawn), "settings": drawn}


def checkpoint_fits(study):
    """What the two-point theory is fitted to, in a study that is not one of dynamics, by setting."""
    return {
        name: {
            "fit": found.fit.model_dump(),
            "data": dataset_file(found.data.dataset),
            "representations": representation_files(study, name),
        }
        for name, found in STUDIES[study].settings.items()
        if getattr(found, "fit", None) is not None
    }


# --- figures ------------------------------------------------------------------------------------------------------


def setting_files(study, name):
    return {
        "setting": name,
        "data": dataset_file(STUDIES[study].settings[name].data.dataset),
        "representations": representation_files(study, name),
    }


def figure_files(figure):
    """The result files that a figure draws, by what they are for."""
    if figure.plot.startswith("vanrossem2024"):
        return dynamics_figure_files(figure)
    if figure.plot == "roeder2021_fig2":
        return {
            "panels": [setting_files(figure.study, name) for name in figure.panels],
            "sweeps": {
                sweep: {
                    start: [{"setting": name, "value": value} for value, name in points.items()]
                    for start, points in STUDIES[figure.study].sweeps[sweep].items()
                }
                for sweep in figure.sweeps
            },
            "tables": study_tables(figure.study, "pairs", "runs", "summary"),
        }
    if figure.plot == "roeder2021_fig1":
        swept = STUDIES[figure.study].sweeps[figure.sweep]
        return {
            "drawn": setting_files(figure.study, figure.setting),
            "sweep": {
                start: [{"setting": name, "value": value} for value, name in points.items()]
                for start, points in swept.items()
            },
            "tables": study_tables(figure.study, "pairs", "runs", "summary"),
        }
    if figure.plot == "roeder2021_theorem":
        return {
            "studies": {
                study: {
                    "datasets": {name: found.data.dataset for name, found in STUDIES[study].settings.items()},
                    "tables": study_tables(study, "pairs"),
                }
                for study in figure.studies
            }
        }
    if figure.plot == "joint":
        return {
            "studies": {
                study: {
                    "tables": study_tables(study, "pairs", "runs", "summary"),
                    "fits": fits(study),
                    "settings": list(STUDIES[study].settings),
                }
                for study in figure.studies
            }
        }
    if figure.plot == "roeder2021_fig4":
        published = {"published": str(REFERENCE / "roeder2021_fig4.csv")} if figure.published else {}
        return {"tables": study_tables(figure.study, "pairs", "runs", "summary", "spectra")} | published
    if figure.plot == "roeder2021_fig3":
        expansion = STUDIES[figure.study]
        sweeps = {name: expansion.sweeps[name][figure.setting] for name in figure.sweeps}
        layers = expansion.settings[figure.layers].represent if figure.layers else None
        return {
            "sweeps": {
                name: [{"setting": made, "value": value} for value, made in points.items()]
                for name, points in sweeps.items()
            },
            "layers": {"f": layers.layers, "g": layers.decoder_layers} if layers else {},
            "candidates": expansion.settings[figure.setting].train.batch_size,
            "tables": study_tables(figure.study, "pairs", "runs", "summary"),
        }
    if figure.plot == "layers":
        layers = [STUDIES[figure.study].settings[name].represent.layers for name in figure.settings]
        return {"tables": study_tables(figure.study, "pairs", "runs", "summary"), "layers": layers}
    drawn = figure.drawn(STUDIES[figure.study])
    spectra = ["spectra"] if figure.plot == "spectrum" else []
    return {"tables": study_tables(figure.study, "pairs", "runs", *spectra), "settings": drawn}


def leaves(node):
    """All result files in what `figure_files` gives."""
    if isinstance(node, dict):
        return [leaf for value in node.values() for leaf in leaves(value)]
    if isinstance(node, list):
        return [leaf for value in node for leaf in leaves(value)]
    return [node] if isinstance(node, str) and node.startswith(f"{R}/") else []


def published(figure):
    """Numbers of the paper or of its code that a figure draws beside its own."""
    file = REFERENCE / f"{figure.plot}.csv"
    return str(file) if getattr(figure, "published", True) and file.is_file() else []


def figure_studies(figure):
    """The studies that a figure draws from."""
    keys = ("study", "studies", "depth", "widths")
    named = [getattr(figure, key) for key in keys if hasattr(figure, key)]
    found = [name for one in named for name in ([one] if isinstance(one, str) else one)]
    return list(dict.fromkeys([*found, *([figure.rates.study] if hasattr(figure, "rates") else [])]))


def figure_inputs(figure):
    return sorted(set(leaves(figure_files(figure))))


def study_results(study):
    """Every result of a study, so that one that was deleted is made again."""
    if study in DYNAMICS:
        return [fits(study), *(file for files in histories(study).values() for file in files)]
    jobs = [(name, block) for name in STUDIES[study].settings for block in blocks(study, name)]
    trained = [
        f"{R}/runs/{study}/{name}/{block}"
        for name, block in jobs
        if study not in LANGUAGE + GIVEN + PRETRAINED
        or (study in LANGUAGE and isinstance(STUDIES[study].settings[name].model, SmallGpt2))
    ]
    weights = "models" if study in LANGUAGE else "weights.safetensors"
    return [
        *(f"{run}/{file}" for run in trained for file in (weights, "history.h5")),
        *(f"{R}/representations/{study}/{name}/{block}.h5" for name, block in jobs),
        *(f"{R}/factors/{study}/{name}/{block}/{file}" for name, block in jobs for file in ("factors.h5", "runs.csv")),
        *score_files(study),
        *study_tables(study).values(),
        *([fits(study)] if checkpoint_fits(study) else []),
    ]


ALL_FIGURES = [f"{R}/figures/{name}.{kind}" for name in CONFIG.figures for kind in ("pdf", "png", "csv", "rst")]
ALL_RESULTS = [file for study in STUDIES for file in study_results(study)]


# --- the scorecard -----------------------------------------------------------------------------------------------

CLAIMS = os.path.relpath(Path(workflow.basedir) / "workflow" / "claims.yaml")


@cache
def scored_claims():
    """The claims as the scorecard is given them; read when asked for, since every job reads this file."""
    try:
        return claims.applied(claims.read(CLAIMS), CONFIG, STUDIES)
    except ConfigError as error:
        raise WorkflowError(f"The claims have a problem:\n{error}") from None


def scored_tables(wildcards=None):
    return [f"{R}/{table}" for table in claims.tables(scored_claims())]


def scorecard_files(wildcards=None):
    """The scorecard, where any claim is of a figure of the configuration."""
    return [f"{R}/scorecard.csv", f"{R}/scorecard.md"] if scored_tables() else []


# --- report -------------------------------------------------------------------------------------------------------

MADE = "How it was made"
# A page: its category, its title, and what it holds: tables (csv) under their headings, text (Markdown), settings (YAML).
REPORT_PAGES = {
    "scorecard": ("Agreement with the papers", "The scorecard", [("", f"{R}/scorecard.md")]),
    "config": (MADE, "The configuration as it was resolved", [("", f"{R}/report/config.yaml")]),
    "run_times": (
        MADE,
        "Run times",
        [
            ("By stage (seconds; memory in MB)", f"{R}/report/stages.csv"),
            ("By figure, from nothing (sums over jobs)", f"{R}/report/figures.csv"),
            ("The slowest jobs", f"{R}/report/slowest.csv"),
        ],
    ),
}


def report_parts(wildcards):
    return [file for _, file in REPORT_PAGES[wildcards.page][2]]


def resolved():
    """The configuration with defaults, and each study by its settings instead of by what they are made from."""
    whole = CONFIG.model_dump(exclude_none=True, exclude={"studies"})
    studies = {name: expansion.model_dump(exclude_none=True) for name, expansion in STUDIES.items()}
    return canonical(whole, studies=studies)


def figure_sources():
    """The studies of every figure, and the data sets of these."""
    found = {}
    for name, figure in CONFIG.figures.items():
        studies = figure_studies(figure)
        sections = [getattr(own, "data", None) for study in studies for own in STUDIES[study].settings.values()]
        datasets = {getattr(section, "dataset", None) for section in sections} - {None}
        found[name] = {"studies": studies, "datasets": sorted(datasets)}
    return found
