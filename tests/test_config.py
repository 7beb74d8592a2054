"""The configuration: what is accepted, what it expands to, and one line for each thing that is wrong."""

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from functools import reduce
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
import yaml
from pydantic import ValidationError
from snakemake.utils import update_config

from repalign.config import (
    AngularClasses,
    Config,
    Data,
    Expansion,
    LabelMlp,
    LabelTable,
    Measure,
    Score,
    Seeds,
    Setting,
    Study,
    Train,
    canonical,
    load,
    schema,
)
from repalign.errors import ConfigError
from repalign.measures.catalogue import MEASURES
from repalign.measures.evidence import Evidence
from repalign.measures.linear import Options

ROOT = Path(__file__).resolve().parents[1]
PRESETS = sorted((ROOT / "workflow/presets").glob("*.yaml"))
BASE = yaml.safe_load("""
download:
  files:
    x: {urls: [u], md5: abababababababababababababababab}
    y: {urls: [u], md5: abababababababababababababababab}
datasets:
  d: {kind: angular_classes, n_train: 100}
  other: {kind: digits}
studies:
  s:
    data: {dataset: d}
    settings: {a: {}}
  t:
    data: {dataset: other}
figures:
  f: {plot: roeder2021_fig2, study: s, panels: [a]}
  g: {plot: roeder2021_fig2, study: s, panels: [a]}
""")


def overlaid(*overlays: str | dict[str, Any], base: dict[str, Any] = BASE) -> dict[str, Any]:
    """`base` with overlays (dictionaries or YAML), laid on as Snakemake does with --configfile."""
    raw = copy.deepcopy(base)
    for overlay in overlays:
        update_config(raw, yaml.safe_load(overlay) if isinstance(overlay, str) else overlay)
    return raw


def study(text: str) -> Expansion:
    """The settings of a study on the data set `d`."""
    return load(overlaid({"studies": {"s": yaml.safe_load(text)}}))[1]["s"]


def at(section: Any, key: str) -> Any:
    return reduce(getattr, key.split("."), section)


# --- the repository's own -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", [None, *PRESETS], ids=lambda preset: preset.name if preset else "config.yaml")
def test_the_repositorys_configuration_expands(preset: Path | None) -> None:
    raw = overlaid(*([preset.read_text()] if preset else []), base=yaml.safe_load((ROOT / "config.yaml").read_text()))
    config, studies = load(raw)
    assert config.figures
    assert studies.keys() == config.studies.keys() >= {"angular", "digits"}
    for name, expansion in studies.items():
        assert expansion.settings.keys() >= config.studies[name].settings.keys()
        for sweep, starts in expansion.sweeps.items():
            over = config.studies[name].sweeps[sweep].over
            for start, made in starts.items():
                for value, setting in made.items():
                    swept = expansion.settings[setting].model_dump()
                    for key in over:
                        *parents, last = key.split(".")
                        own = reduce(dict.__getitem__, parents, swept)
                        assert own[last] == value
                        own[last] = at(expansion.settings[start], key)
                    assert swept == expansion.settings[start].model_dump()


# --- settings -------------------------------------------------------------------------------------------------------


def test_settings_override_single_values() -> None:
    settings = study("""
        train: {steps: 10, checkpoints: [1, 2], candidates: 4, encoder: {width: 8, depth: 1}}
        settings:
          a: {}
          narrow: {train: {encoder: {width: 2}}}
          fewer: {train: {checkpoints: [5]}}
          all_labels: {train: {candidates: null}}
          more: {seeds: {count: 7}, score: {folds: 3}, represent: {probes: 9}, data: {n_train: 50}}
    """).settings
    base = Train.model_validate(
        {"steps": 10, "checkpoints": [1, 2], "candidates": 4, "encoder": {"width": 8, "depth": 1}}
    )
    assert settings["a"] == Setting(data=Data(dataset="d"), train=base)
    for name, train in {
        "narrow": {"encoder": base.encoder.model_copy(update={"width": 2})},
        "fewer": {"checkpoints": [5]},
        "all_labels": {"candidates": None},
    }.items():
        assert settings[name] == settings["a"].model_copy(update={"train": base.model_copy(update=train)}), name
    assert settings["more"].train == base
    for key, value in {
        "seeds.count": 7,
        "seeds.block": 5,
        "score.folds": 3,
        "represent.probes": 9,
        "data.n_train": 50,
    }.items():
        assert at(settings["more"], key) == value
    assert settings["more"].data.dataset == "d"


def test_a_study_without_settings_has_one() -> None:
    assert list(load(overlaid())[1]["t"].settings) == ["default"]


@pytest.mark.parametrize(
    ("own", "override", "expected"),
    [
        ({"kind": "label_mlp", "width": 8}, {"kind": "label_table"}, LabelTable(kind="label_table")),
        ({"kind": "label_table"}, {"kind": "label_mlp", "width": 5}, LabelMlp(kind="label_mlp", width=5)),
        (
            {"kind": "label_mlp", "width": 8, "depth": 1},
            {"kind": "label_mlp", "width": 5},
            LabelMlp(kind="label_mlp", width=5, depth=1),
        ),
        ({"kind": "label_mlp", "width": 8, "depth": 1}, {"width": 5}, LabelMlp(kind="label_mlp", width=5, depth=1)),
        ({"kind": "label_mlp", "width": 8}, {}, LabelMlp(kind="label_mlp", width=8)),
    ],
)
def test_a_section_of_another_kind_replaces_the_section(own: dict, override: dict, expected: Any) -> None:
    made = study(json.dumps({"train": {"decoder": own}, "settings": {"a": {"train": {"decoder": override}}}}))
    assert made.settings["a"].train.decoder == expected


# --- sweeps ---------------------------------------------------------------------------------------------------------


def test_a_sweep_over_one_key() -> None:
    made = study(
        """
        settings: {a: {score: {folds: 3}}}
        sweeps: {rate: {of: [a], over: [train.optimiser.learning_rate], values: [0.01, 0.5]}}
        """
    )
    assert made.sweeps == {"rate": {"a": {0.01: "a-rate-0.01", 0.5: "a-rate-0.5"}}}
    assert list(made.settings) == ["a", "a-rate-0.01", "a-rate-0.5"]
    assert [made.settings[name].train.optimiser.learning_rate for name in made.settings] == [1e-3, 0.01, 0.5]
    assert [made.settings[name].score.folds for name in made.settings] == [3, 3, 3]


def test_a_sweep_over_several_keys_gives_them_the_same_value() -> None:
    made = study(
        "{settings: {a: {}}, sweeps: {width: {of: [a], over: [train.encoder.width, train.decoder.width], values: [3]}}}"
    )
    assert made.settings["a-width-3"].train == Train.model_validate(
        {"encoder": {"width": 3}, "decoder": {"kind": "label_mlp", "width": 3}}
    )


def test_a_sweep_over_the_kind_replaces_the_section() -> None:
    made = study(
        "{settings: {a: {}}, sweeps: {g: {of: [a], over: [train.decoder.kind], values: [label_table, label_mlp]}}}"
    )
    assert made.sweeps["g"]["a"] == {"label_table": "a-g-label_table", "label_mlp": "a"}
    assert made.settings["a-g-label_table"].train.decoder == LabelTable(kind="label_table")


def test_a_value_that_a_setting_has_already_is_that_setting() -> None:
    made = study("""
        settings: {a: {}, short: {train: {steps: 10}}}
        sweeps:
          steps: {of: [a, short], over: [train.steps], values: [10, 20, 5000]}
          again: {of: [short], over: [train.steps], values: [20]}
    """)
    assert made.sweeps == {
        "steps": {
            "a": {10: "short", 20: "a-steps-20", 5000: "a"},
            "short": {10: "short", 20: "a-steps-20", 5000: "a"},
        },
        "again": {"short": {20: "a-steps-20"}},
    }
    assert list(made.settings) == ["a", "short", "a-steps-20"]


def test_across_may_name_a_setting_that_a_sweep_made() -> None:
    text = "{settings: {a: {}}, sweeps: {w: {of: [a], over: [train.encoder.width], values: [3]}}, across: [[a, a-w-3]]}"
    assert list(study(text).settings) == ["a", "a-w-3"]


# --- pairs of settings ----------------------------------------------------------------------------------------------


def test_across_is_none_by_default() -> None:
    assert study("{settings: {a: {}, b: {train: {steps: 9}}}}").across == []


def test_across_all_is_every_pair_of_settings_once() -> None:
    made = study("""
        settings: {c: {train: {steps: 9}}, a: {}, b: {train: {steps: 8}}}
        sweeps: {w: {of: [a], over: [train.encoder.width], values: [3, 64]}}
        across: all
    """)
    # Whatever the order of the settings, so that a pair keeps its name; a sweep's value that is a setting is no other.
    assert made.across == [["a", "a-w-3"], ["a", "b"], ["a", "c"], ["a-w-3", "b"], ["a-w-3", "c"], ["b", "c"]]


@pytest.mark.parametrize("across", ["all", "[]"])
def test_one_setting_has_no_other_to_be_compared_with(across: str) -> None:
    assert study(f"{{settings: {{a: {{}}}}, across: {across}}}").across == []


def test_pairs_across_are_kept_as_they_are_given() -> None:
    text = "settings: {a: {}, b: {train: {steps: 9}}}"
    assert study(f"{{{text}, across: [[b, a]]}}").across == [["b", "a"]]


# --- scores ---------------------------------------------------------------------------------------------------------


def test_the_measures_are_those_of_the_library() -> None:
    """config.py names them itself: a stage that reads no scores should not depend on what they are made of."""
    import repalign.alignment  # noqa: F401  # registers them

    assert set(get_args(Measure)) == set(MEASURES)
    assert len(get_args(Measure)) == len(MEASURES)


def test_every_key_of_a_score_section_may_be_given() -> None:
    text = """
        measures: [svcca, cka]
        steps: [0, 5000]
        layers: all
        folds: 2
        shuffles: 0
        resamples: 0
        level: 0.01
        confidence: 0.5
        svcca_components: 1
        svcca_variance: 1.0
        zscored_components: [4, 16]
        penalty: 1.0e-6
        device: 'cuda:1'
        seed: 7
    """
    given = yaml.safe_load(text)
    assert given.keys() == Score.model_fields.keys()
    for place in ({"score": given}, {"settings": {"a": {"score": given}}}):
        made = load(overlaid({"studies": {"s": place}}, "figures: {f: null, g: null}"))[1]["s"].settings["a"].score
        assert made == Score.model_validate(given)
        assert made.model_dump() == given


def test_by_default_the_number_of_directions_of_svcca_follows_from_the_variance() -> None:
    """The key is then left out of what rules are given, and a setting may take it back."""
    assert "svcca_components" not in json.loads(canonical(Score()))
    made = study("{score: {svcca_components: 5}, settings: {a: {}, b: {score: {svcca_components: null}}}}")
    assert [made.settings[name].score.svcca_components for name in ("a", "b")] == [5, None]


def test_the_default_level_is_met_exactly() -> None:
    score = Score()
    assert (score.shuffles + 1) * score.level == pytest.approx(round((score.shuffles + 1) * score.level))


def test_a_score_section_holds_all_that_the_evidence_and_the_measures_ask_for() -> None:
    names = {field.name for settings in (Evidence, Options) for field in fields(settings)}
    assert names <= Score.model_fields.keys()
    for settings in (Evidence(), Options()):
        for field in fields(settings):
            assert getattr(Score(), field.name) == getattr(settings, field.name), field.name


# --- seeds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "count", "block", "expected"),
    [
        (0, 5, 5, {"seeds-000-004": [0, 1, 2, 3, 4]}),
        (0, 5, 2, {"seeds-000-001": [0, 1], "seeds-002-003": [2, 3], "seeds-004-004": [4]}),
        (7, 3, 20, {"seeds-007-009": [7, 8, 9]}),
        (998, 4, 2, {"seeds-998-999": [998, 999], "seeds-1000-1001": [1000, 1001]}),
    ],
)
def test_seed_blocks(first: int, count: int, block: int, expected: dict[str, list[int]]) -> None:
    assert Seeds(first=first, count=count, block=block).blocks() == expected


def test_more_seeds_leave_the_full_blocks_as_they_were() -> None:
    few, many = Seeds(count=4, block=2).blocks(), Seeds(count=7, block=2).blocks()
    assert list(many.items())[: len(few)] == list(few.items())


# --- entries set to null --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overlay", "place", "left"),
    [
        ("datasets: {other: null}\nstudies: {t: null}", "datasets", ["d"]),
        ("studies: {t: null}", "studies", ["s"]),
        ("figures: {f: null}", "figures", ["g"]),
        ("download: {files: {x: null}}", "download.files", ["y"]),
    ],
)
def test_null_entries_are_left_out(overlay: str, place: str, left: list[str]) -> None:
    assert list(at(load(overlaid(overlay))[0], place)) == left


@pytest.mark.parametrize(
    ("first", "then", "place", "left"),
    [
        ("f: {sweeps: {w: W, v: V}}", "f: {sweeps: {w: null}}", "f.sweeps", {"v": "V"}),
        ("f: {names: {a: A, b: B}}", "f: {names: {a: null}}", "f.names", {"b": "B"}),
        (
            "h: {plot: roeder2021_theorem, studies: {s: S, t: T}}",
            "h: {studies: {t: null}}",
            "h.studies",
            {"s": "S"},
        ),
    ],
)
def test_null_entries_of_a_figure_are_left_out(first: str, then: str, place: str, left: dict[str, str]) -> None:
    sweeps = "{v: {of: [a], over: [train.steps], values: [4]}, w: {of: [a], over: [train.steps], values: [3]}}"
    raw = overlaid(f"studies: {{s: {{sweeps: {sweeps}}}}}", f"figures: {{{first}}}", f"figures: {{{then}}}")
    figure, key = place.split(".")
    assert getattr(load(raw)[0].figures[figure], key) == left


def test_null_settings_and_sweeps_are_left_out() -> None:
    text = "sweeps: {w: {of: [a], over: [train.steps], values: [3]}, v: {of: [a], over: [train.steps], values: [4]}}"
    overlay = "{settings: {a: {}, b: {train: {steps: 9}}}, " + text + "}"
    raw = overlaid(
        {"studies": {"s": yaml.safe_load(overlay)}}, "studies: {s: {settings: {b: null}, sweeps: {w: null}}}"
    )
    before = copy.deepcopy(raw)
    made = load(raw)[1]["s"]
    assert list(made.settings) == ["a", "a-v-4"]
    assert list(made.sweeps) == ["v"]
    assert raw == before, "what was given is not changed"


# --- what is refused ------------------------------------------------------------------------------------------------

THEOREM = "h: {plot: roeder2021_theorem, studies: {s: S}}, f: null"
BAD = [
    # unknown keys, at each level
    ("resluts: x", "config: unknown key 'resluts'", "did you mean 'results'?"),
    ("zzz: x", "config: unknown key 'zzz'", "valid keys: results, scale, download, datasets, studies, figures"),
    ("download: {mirrors: x}", "download: unknown key 'mirrors'", "did you mean 'mirror'?"),
    ("datasets: {d: {sgima: 2}}", "datasets.d: unknown key 'sgima'", "did you mean 'sigma'?"),
    ("studies: {s: {trian: {}}}", "studies.s: unknown key 'trian'", "did you mean 'train'?"),
    ("studies: {s: {data: {ntrain: 3}}}", "studies.s.data: unknown key 'ntrain'", "did you mean 'n_train'?"),
    ("studies: {s: {train: {stpes: 3}}}", "studies.s.train: unknown key 'stpes'", "did you mean 'steps'?"),
    ("studies: {s: {train: {encoder: {widht: 3}}}}", "studies.s.train.encoder", "did you mean 'width'?"),
    ("studies: {s: {settings: {a: {trian: {}}}}}", "studies.s.settings.a: unknown", "did you mean 'train'?"),
    ("studies: {s: {settings: {a: {train: {encoder: {widht: 3}}}}}}", "studies.s.settings.a.train.encoder", "'width'?"),
    ("studies: {s: {score: {mesures: []}}}", "studies.s.score: unknown key 'mesures'", "did you mean 'measures'?"),
    ("figures: {f: {panel: [a]}}", "figures.f: unknown key 'panel'", "did you mean 'panels'?"),
    (
        "studies: {s: {train: {decoder: {kind: label_mlp, widht: 3}}}}",
        "studies.s.train.decoder: unknown key 'widht'",
        "did you mean 'width'?",
    ),
    (
        "studies: {s: {train: {decoder: {kind: label_table, width: 3}}}}",
        "studies.s.train.decoder: unknown key 'width'",
        "valid keys: kind",
    ),
    (
        "studies: {s: {settings: {a: {train: {decoder: {widht: 3}}}}}}",
        "studies.s.settings.a.train.decoder: unknown key 'widht'",
        "did you mean 'width'?",
    ),
    (
        "studies: {s: {settings: {a: {train: {decoder: {kind: label_table, width: 3}}}}}}",
        "studies.s.settings.a.train.decoder: unknown key 'width'",
        "valid keys: kind",
    ),
    # wrong types and ranges
    ("studies: {s: {train: {steps: many}}}", "studies.s.train.steps", "valid integer"),
    ("studies: {s: {settings: {a: {train: {steps: many}}}}}", "studies.s.settings.a.train.steps", "valid integer"),
    ("studies: {s: {settings: {a: {train: {steps: null}}}}}", "studies.s.settings.a.train.steps", "valid integer"),
    ("studies: {s: {settings: {a: {train: {device: gpu}}}}}", "studies.s.settings.a.train.device", "auto|cpu|cuda"),
    ("studies: {s: {train: {optimiser: {learning_rate: .nan}}}}", "studies.s.train.optimiser.learning_rate", "finite"),
    ("studies: {s: {train: {optimiser: {weight_decay: .inf}}}}", "studies.s.train.optimiser.weight_decay: ", "finite"),
    ("studies: {s: {train: {decoder: {width: 3}}}}", "studies.s.train.decoder: ", "'kind'"),
    ("studies: {s: {train: {decoder: {kind: moons}}}}", "studies.s.train.decoder: ", "'label_table', 'label_mlp'"),
    (
        "studies: {s: {train: {decoder: {kind: label_mlp, width: wide}}}}",
        "studies.s.train.decoder.width: ",
        "valid integer",
    ),
    (
        "studies: {s: {settings: {a: {train: {decoder: {width: wide}}}}}}",
        "studies.s.settings.a.train.decoder.width: ",
        "valid integer",
    ),
    ("datasets: {d: 3}", "datasets.d: ", "valid dictionary"),
    ("datasets: {d: {kind: moons}}", "datasets.d: ", "'angular_classes', 'digits', 'mnist'"),
    ("datasets: {d: {sigma: wide}}", "datasets.d.sigma: ", "valid number"),
    ("figures: {f: {plot: bars}}", "figures.f: ", "'roeder2021_fig2', 'roeder2021_theorem'"),
    ("figures: {f: {panels: a}}", "figures.f.panels: ", "valid list"),
    ("figures: {f: {measure: mean_kl}}", "figures.f.measure: ", "'affine_r2' or 'decoder_r2'"),
    ("results: results/", "results: ", "[^/]$"),
    ("results: /", "results: ", "[^/]$"),
    ("results: ''", "results: ", "[^/]$"),
    (
        "studies: {s: {sweeps: {w: {of: [a], over: 'train.steps', values: [3]}}}}",
        "studies.s.sweeps.w.over: ",
        "valid list",
    ),
    ("studies: {s: {sweeps: {w: {of: [a], over: [], values: [3]}}}}", "studies.s.sweeps.w.over: ", "at least 1 item"),
    ("studies: {s: {score: {measures: [cca]}}}", "studies.s.score.measures.0", "'mean_cca', 'mean_squared_cca'"),
    ("studies: {s: {score: {measures: []}}}", "studies.s.score.measures: ", "at least 1 item"),
    ("studies: {s: {score: {layers: [output]}}}", "studies.s.score.layers: ", "'same' or 'all'"),
    ("studies: {s: {score: {layers: other}}}", "studies.s.score.layers: ", "'same' or 'all'"),
    ("studies: {s: {score: {folds: 1}}}", "studies.s.score.folds: ", "greater than or equal to 2"),
    ("studies: {s: {score: {folds: 101}}}", "studies.s.score.folds: ", "less than or equal to 100"),
    ("studies: {s: {score: {shuffles: -1}}}", "studies.s.score.shuffles: ", "greater than or equal to 0"),
    ("studies: {s: {score: {shuffles: 9.0}}}", "studies.s.score.shuffles: ", "valid integer"),
    ("studies: {s: {score: {resamples: -1}}}", "studies.s.score.resamples: ", "greater than or equal to 0"),
    ("studies: {s: {score: {level: 0}}}", "studies.s.score.level: ", "greater than 0"),
    ("studies: {s: {score: {level: 1}}}", "studies.s.score.level: ", "less than 1"),
    ("studies: {s: {score: {confidence: 1.0}}}", "studies.s.score.confidence: ", "less than 1"),
    (
        "studies: {s: {score: {svcca_components: 0}}}",
        "studies.s.score.svcca_components: ",
        "greater than or equal to 1",
    ),
    ("studies: {s: {score: {svcca_variance: 0}}}", "studies.s.score.svcca_variance: ", "greater than 0"),
    ("studies: {s: {score: {svcca_variance: 1.01}}}", "studies.s.score.svcca_variance: ", "less than or equal to 1"),
    ("studies: {s: {score: {penalty: 0}}}", "studies.s.score.penalty: ", "greater than 0"),
    ("studies: {s: {score: {penalty: .inf}}}", "studies.s.score.penalty: ", "finite"),
    ("studies: {s: {score: {device: auto}}}", "studies.s.score.device: ", "cpu|cuda"),
    ("studies: {s: {score: {device: 'torch:cpu'}}}", "studies.s.score.device: ", "cpu|cuda"),
    ("studies: {s: {score: {seed: -1}}}", "studies.s.score.seed: ", "greater than or equal to 0"),
    ("studies: {s: {settings: {a: {score: {fold: 3}}}}}", "studies.s.settings.a.score: unknown", "mean 'folds'?"),
    ("studies: {s: {settings: {a: {score: {folds: 1}}}}}", "studies.s.settings.a.score.folds: ", "equal to 2"),
    ("studies: {s: {seeds: {count: 0}}}", "studies.s.seeds.count", "greater than or equal to 1"),
    ("studies: {s: {seeds: {block: 0}}}", "studies.s.seeds.block", "greater than or equal to 1"),
    ("studies: {s: {seeds: {first: -1}}}", "studies.s.seeds.first", "greater than or equal to 0"),
    # names
    ("studies: {s: {settings: {b--c: {}}}}", "studies.s.settings.b--c", "String should match pattern"),
    ("studies: {s: {settings: {b/c: {}}}}", "studies.s.settings.b/c", "String should match pattern"),
    (
        "studies: {s: {settings: {a-w-3: {train: {steps: 4}}}, sweeps: {w: {of: [a], over: [train.steps], "
        "values: [3]}}}}",
        "studies.s.sweeps.w: ",
        "another setting is called 'a-w-3' already",
    ),
    (
        "studies: {s: {settings: {a-w: {train: {batch_size: 9}}}, sweeps: {w-v: {of: [a], over: [train.steps], "
        "values: [3]}, v: {of: [a-w], over: [train.steps], values: [3]}}}}",
        "studies.s.sweeps.v: ",
        "another setting is called 'a-w-v-3' already",
    ),
    (
        "studies: {s: {sweeps: {w: {of: [a], over: [train.device], values: ['cuda:0']}}}}",
        "studies.s.sweeps.w.values: 'cuda:0'",
        "file name",
    ),
    # references
    ("studies: {s: {data: {dataset: moons}}}", "studies.s: data.dataset", "data sets: d, other"),
    (
        "studies: {s: {represent: {layers: [hidden_4]}}}",
        "studies.s: represent.layers",
        "hidden_3, output",
    ),
    ("studies: {s: {represent: {steps: [3]}}}", "studies.s: represent.steps", "saved: [0, 5000]"),
    (
        "studies: {s: {sweeps: {w: {of: [z], over: [train.steps], values: [3]}}}}",
        "studies.s.sweeps.w.of: no setting 'z'",
        "settings: a",
    ),
    (
        "studies: {s: {sweeps: {w: {of: [a], over: [train.encodr.width], values: [3]}}}}",
        "studies.s.sweeps.w (3).train: unknown key 'encodr'",
        "did you mean 'encoder'?",
    ),
    (
        "studies: {s: {sweeps: {w: {of: [a], over: [train.steps], values: [many]}}}}",
        "studies.s.sweeps.w (many).train.steps",
        "valid integer",
    ),
    ("studies: {s: {across: [[a, z]]}}", "studies.s.across.0: no setting 'z'", "settings: a"),
    ("studies: {s: {across: [[a]]}}", "studies.s.across.0: ", "at least 2 items"),
    ("studies: {s: {across: [[a, b, c]]}}", "studies.s.across.0: ", "at most 2 items"),
    ("studies: {s: {across: [a]}}", "studies.s.across.0: ", "valid list"),
    ("studies: {s: {across: none}}", "studies.s.across: ", "Input should be 'all'"),
    ("studies: {s: {across: 3}}", "studies.s.across: ", "valid list"),
    (
        "studies: {s: {settings: {b: {score: {folds: 3}}}, across: all}}",
        "studies.s.across.0: a and b",
        "score sections",
    ),
    (
        "studies: {s: {settings: {b: {data: {dataset: other}}}, across: all}}",
        "studies.s.across.0: a and b",
        "probe set",
    ),
    ("studies: {s: {across: [[a, a]]}}", "studies.s.across.0: 'a' twice", "always scored"),
    (
        "studies: {s: {settings: {b: {data: {dataset: other}}}, across: [[a, b]]}}",
        "studies.s.across.0: a and b",
        "probe set",
    ),
    (
        "studies: {s: {settings: {b: {represent: {probes: 5}}}, across: [[a, b]]}}",
        "studies.s.across.0: a and b",
        "represent.probes",
    ),
    ("figures: {f: {study: z}}", "figures.f", "no study 'z'; studies: s, t"),
    ("figures: {h: {plot: roeder2021_theorem, studies: {z: Z}}}", "figures.h.studies: no study 'z'", "studies: s, t"),
    ("figures: {f: {panels: [z]}}", "figures.f.panels: no setting 'z'", "in s: a"),
    ("figures: {f: {sweeps: {z: Z}}}", "figures.f.sweeps: no sweep 'z'", "in s:"),
    ("figures: {f: {seeds: [0, 7]}}", "figures.f.seeds", "a has no seed 7"),
    # what a figure needs
    *(
        (
            f"{{studies: {{s: {{score: {{measures: {measures}}}}}}}, figures: {{{figure}, g: null}}}}",
            place,
            f"setting a does not score {lacks}",
        )
        for measures, figure, place, lacks in (
            ("[linear_r2]", "f: {}", "figures.f.panels: ", "mean_cca"),
            ("[mean_cca]", "f: {}", "figures.f.panels: ", "linear_r2"),
            ("[linear_r2]", "f: {measure: affine_r2}", "figures.f.panels: ", "affine_r2"),
            ("[affine_r2, decoder_r2]", THEOREM, "figures.h.studies.s: ", "mean_kl"),
            ("[affine_r2, mean_kl]", THEOREM, "figures.h.studies.s: ", "decoder_r2"),
            ("[decoder_r2, mean_kl]", THEOREM, "figures.h.studies.s: ", "affine_r2"),
        )
    ),
    (
        "{studies: {s: {settings: {b: {score: {measures: [affine_r2]}}}, sweeps: {w: {of: [b], over: [train.steps], "
        "values: [3]}}}}, figures: {f: {sweeps: {w: W}}}}",
        "figures.f.sweeps: ",
        "setting b-w-3 does not score mean_cca",
    ),
    (
        "{studies: {s: {settings: {b: {score: {measures: [affine_r2, mean_kl]}}}}}, figures: {" + THEOREM + "}}",
        "figures.h.studies.s: ",
        "setting b does not score decoder_r2",
    ),
    (
        "{studies: {s: {represent: {layers: [hidden_1]}}}, figures: {g: null}}",
        "figures.f.panels: ",
        "setting a does not represent the layer output",
    ),
    (
        "{studies: {s: {settings: {b: {represent: {layers: [hidden_1]}}}, sweeps: {w: {of: [b], over: [train.steps], "
        "values: [3]}}}}, figures: {f: {sweeps: {w: W}}}}",
        "figures.f.sweeps: ",
        "setting b-w-3 does not represent the layer output",
    ),
    (
        "{studies: {s: {settings: {b: {represent: {layers: [hidden_1]}}}}}, figures: {" + THEOREM + "}}",
        "figures.h.studies.s: ",
        "setting b does not represent the layer output",
    ),
    # what cannot be computed
    ("studies: {s: {train: {output_dim: 18}}}", "studies.s: train.output_dim: M = 18", "K - 1 = 17"),
    ("studies: {t: {train: {output_dim: 10}}}", "studies.t: train.output_dim", "K - 1 = 9"),
    ("studies: {s: {train: {candidates: 19}}}", "studies.s: train.candidates", "19 of 18 labels"),
    (
        "studies: {s: {train: {checkpoints: [6000]}}}",
        "studies.s: train.checkpoints: step 6000",
        "the last, 5000",
    ),
    ("studies: {s: {data: {n_train: 101}}}", "studies.s: data.n_train: 101", "data set of 100"),
    # downloads
    (
        "datasets: {m: {kind: mnist, train_images: x, train_labels: y, test_images: x, test_labels: z}}",
        "datasets.m: 'z'",
        "download.files",
    ),
    ("download: {files: {z: {urls: [u]}}}", "download.files.z", "sha256 or md5"),
    ("download: {files: {x: {md5: abc}}}", "download.files.x.md5", "[0-9a-f]{32}"),
    ("download: {files: {x: {urls: []}}}", "download.files.x.urls", "at least 1 item"),
]


@pytest.mark.parametrize(("overlay", "place", "expected"), BAD, ids=[overlay for overlay, _, _ in BAD])
def test_one_line_names_the_place_and_what_is_expected(overlay: str, place: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(overlaid(overlay))
    message = str(caught.value)
    assert message.startswith(place)
    assert expected in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "overlay",
    [
        "studies: {s: {train: {output_dim: 17}}}",
        "studies: {s: {train: {output_dim: 18}, score: {measures: [mean_cca, linear_r2]}}}",
        "studies: {s: {train: {candidates: 18}}}",
        "studies: {s: {train: {checkpoints: [5000]}, represent: {steps: [0, 5000]}}}",
        "studies: {s: {data: {n_train: 100}}}",
        "studies: {s: {represent: {layers: [hidden_1, hidden_3, output]}}}",
        "datasets: {m: {kind: mnist, train_images: x, train_labels: y, test_images: x, test_labels: y}}",
        "{studies: {s: {seeds: {first: 6, count: 2}}}, figures: {f: {seeds: [6, 7]}, g: null}}",
        "studies: {s: {train: {optimiser: {weight_decay: 1.0e+300}}}}",
        "results: /a/b",
        "{studies: {s: {score: {measures: [affine_r2, decoder_r2, mean_kl]}}}, figures: {" + THEOREM + ", g: null}}",
        # a setting that no figure draws, and one of a sweep, which needs the measure alone
        "studies: {s: {settings: {b: {score: {measures: [linear_r2]}, represent: {layers: [hidden_1]}}}}}",
        "{studies: {s: {settings: {b: {score: {measures: [mean_cca]}}}, sweeps: {w: {of: [b], over: [train.steps], "
        "values: [3]}}}}, figures: {f: {sweeps: {w: W}}}}",
        # the name that a sweep would give, for the very setting that it would make
        "studies: {s: {settings: {a-w-3: {train: {steps: 3}}}, sweeps: {w: {of: [a], over: [train.steps], "
        "values: [3]}}}}",
    ],
)
def test_the_last_value_that_is_possible_is_accepted(overlay: str) -> None:
    load(overlaid(overlay))


@pytest.mark.parametrize(
    ("overlay", "expected"),
    [
        ("studies: {s: {train: {steps: '60'}}}", "studies.s.train.steps"),
        ("studies: {s: {train: {steps: 60.0}}}", "studies.s.train.steps"),
        ("studies: {s: {seeds: {count: true}}}", "studies.s.seeds.count"),
        (
            "studies: {s: {sweeps: {w: {of: [a], over: [train.steps], values: [1, true]}}}}",
            "a value stands there twice",
        ),
        ("download: {files: {../../x: {urls: [u], md5: " + "0" * 32 + "}}}", "download.files"),
        ("studies: {s: {represent: {steps: []}}}", "studies.s.represent.steps"),
        ("figures: {f: {seeds: [0, 0]}}", "figures.f.seeds: the same run twice"),
        ("figures: {f: {palette: nonsense}}", "figures.f.palette"),
        ("studies: {s: {train: {output_dim: 1}}}", "which a plane cannot show"),
        ("studies: {s: {seeds: {count: 1}}}", "has one seed, so no pair of runs"),
    ],
)
def test_what_would_fail_later_is_refused_at_once(overlay: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(expected)):
        load(overlaid(overlay))


@pytest.mark.parametrize(
    ("overlay", "places"),
    [
        ("{resluts: x, studies: {s: {seeds: {count: 0}}}}", ["config"]),
        (
            "studies: {s: {seeds: {count: 0, block: 0}}, t: {trian: {}}}",
            ["studies.s.seeds.count", "studies.s.seeds.block", "studies.t"],
        ),
        (
            "studies: {s: {train: {candidates: 19, output_dim: 18}}, t: {across: [[default, default]]}}",
            ["studies.t.across.0", "studies.s", "studies.s"],
        ),
        (
            "{studies: {s: {score: {measures: [logit_distance]}}}, figures: {" + THEOREM + "}}",
            ["figures.g.panels"] * 2 + ["figures.h.studies.s"] * 3,
        ),
    ],
)
def test_several_problems_have_a_line_each(overlay: str, places: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(overlaid(overlay))
    assert [line.split(": ")[0] for line in str(caught.value).splitlines()] == places


@pytest.mark.parametrize(
    ("overlay", "lines"),
    [
        (
            "studies: {s: {data: {n_train: 101}, settings: {b: {train: {steps: 9}}}}}",
            ["studies.s: data.n_train: 101 points of a data set of 100"],
        ),
        (
            "studies: {s: {settings: {b: {data: {n_train: 101}}}}}",
            ["studies.s (setting b): data.n_train: 101 points of a data set of 100"],
        ),
        (
            """
            studies:
              s:
                settings:
                  b: {data: {n_train: 101}}
                  c: {train: {candidates: 20}, data: {n_train: 101}}
                sweeps: {w: {of: [b], over: [train.steps], values: [3]}}
            """,
            [
                "studies.s (setting b, c, b-w-3): data.n_train: 101 points of a data set of 100",
                "studies.s (setting c): train.candidates: 20 of 18 labels",
            ],
        ),
        (
            "studies: {s: {settings: {a: {data: {n_train: 101}}, b: {data: {n_train: 102}}}}}",
            [
                "studies.s (setting a): data.n_train: 101 points of a data set of 100",
                "studies.s (setting b): data.n_train: 102 points of a data set of 100",
            ],
        ),
    ],
    ids=["of all", "of one", "of some", "each its own"],
)
def test_a_problem_that_settings_share_is_one_line(overlay: str, lines: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(overlaid(overlay))
    assert str(caught.value).splitlines() == lines


@pytest.mark.parametrize("decoder", [LabelTable, LabelMlp])
def test_a_decoder_has_to_say_its_kind(decoder: type) -> None:
    with pytest.raises(ValidationError, match="kind\n  Field required"):
        decoder()


# --- the string that a rule is given ----------------------------------------------------------------------------------


def test_canonical_does_not_depend_on_the_order_of_keys() -> None:
    one, other = ({"steps": 3, "encoder": {"width": 2, "depth": 1}}, {"encoder": {"depth": 1, "width": 2}, "steps": 3})
    assert canonical(Train.model_validate(one)) == canonical(Train.model_validate(other))
    assert (
        canonical(one) == canonical(other) == canonical(**other) == '{"encoder": {"depth": 1, "width": 2}, "steps": 3}'
    )


@pytest.mark.parametrize(
    ("given", "named", "expected"),
    [
        ([], {"a": None}, {}),
        ([Data(dataset="d")], {}, {"dataset": "d"}),
        ([{"b": 1}, {"c": [2]}], {"a": True}, {"a": True, "b": 1, "c": [2]}),
        ([], {"data": Data(dataset="d", n_train=3), "n": None}, {"data": {"dataset": "d", "n_train": 3}}),
    ],
)
def test_canonical_leaves_out_what_is_none(given: list[Any], named: dict[str, Any], expected: Any) -> None:
    assert json.loads(canonical(*given, **named)) == expected


@pytest.mark.parametrize(
    "section",
    [
        Train(),
        Train.model_validate(
            {"candidates": 3, "decoder": {"kind": "label_table"}, "optimiser": {"learning_rate": 0.1}}
        ),
        AngularClasses(kind="angular_classes", sigma=1.5),
        Seeds(first=3),
    ],
    ids=lambda section: type(section).__name__,
)
def test_canonical_round_trip(section: Any) -> None:
    text = canonical(section)
    assert type(section).model_validate_json(text) == section
    assert canonical(json.loads(text)) == text
    assert canonical(**json.loads(text)) == text


def test_canonical_of_a_default_that_is_spelled_out_is_the_same_and_of_another_value_is_not() -> None:
    assert canonical(Train(steps=5_000)) == canonical(Train())
    assert canonical(Train(steps=5_001)) != canonical(Train())


# --- the JSON schema ------------------------------------------------------------------------------------------------


def objects(node: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        if node.get("type") == "object":
            yield place, node
        for key, child in node.items():
            yield from objects(child, f"{place}/{key}")
    elif isinstance(node, list):
        for number, child in enumerate(node):
            yield from objects(child, f"{place}/{number}")


def test_the_schema_is_valid_and_closed() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    found = dict(objects(schema()))
    assert {"", "/$defs/Study", "/$defs/SettingOverride", "/properties/datasets"} <= found.keys()
    for place, node in found.items():
        values = [*node.get("patternProperties", {}).values(), node.get("additionalProperties")]
        is_map = "properties" not in node and any(isinstance(value, dict) and value for value in values)
        assert node.get("additionalProperties") is False or is_map, place
        assert node.get("additionalProperties") is False or "patternProperties" not in node, place


def test_the_schema_accepts_config_yaml() -> None:
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    assert [error.message for error in jsonschema.Draft202012Validator(schema()).iter_errors(raw)] == []


@pytest.mark.parametrize(
    "overlay",
    [
        "resluts: x",
        "datasets: {d: {sgima: 2}}",
        "studies: {s: {train: {steps: many}}}",
        "studies: {s: {settings: {a: {train: {encoder: {widht: 3}}}}}}",
        "studies: {s: {seeds: {count: 0}}}",
        "figures: {f: {panel: [a]}}",
        "studies: {s: {train: {decoder: {width: 3}}}}",
        "studies: {s: {settings: {a: {train: {decoder: {widht: 3}}}}}}",
        "studies: {s: {sweeps: {w: {of: [a], over: 'train.steps', values: [3]}}}}",
        "studies: {s: {settings: {b--c: {}}}}",
        "datasets: {b/c: {kind: digits}}",
        "figures: {f: {names: {b/c: name}}}",
        "results: results/",
        "results: /",
    ],
)
def test_the_schema_refuses_what_load_refuses(overlay: str) -> None:
    validator = jsonschema.Draft202012Validator(schema())
    assert validator.is_valid(overlaid())
    with pytest.raises(ConfigError):
        load(overlaid(overlay))
    assert not validator.is_valid(overlaid(overlay))


def test_the_schema_names_every_key() -> None:
    definitions = schema()["$defs"]
    assert schema()["properties"].keys() == Config.model_fields.keys()
    assert definitions["Study"]["properties"].keys() == Study.model_fields.keys()
    assert definitions["TrainOverride"]["properties"].keys() == Train.model_fields.keys()


def test_the_schema_file_is_current() -> None:
    """Made with `python -m repalign.config > workflow/schemas/config.schema.json`."""
    written = (ROOT / "workflow/schemas/config.schema.json").read_text(encoding="utf-8")
    assert written == json.dumps(schema(), indent=2, sort_keys=True) + "\n"


# --- language models ------------------------------------------------------------------------------------------------

TEXT = "datasets: {t: {kind: sentences}, d: {kind: digits}}\n"
HUB = "{kind: hub, name: a/b, revision: 0123456789abcdef0123456789abcdef01234567}"


@pytest.mark.parametrize(
    ("study_text", "parts"),
    [
        ("{data: {dataset: d}, settings: {a: {model: {kind: gpt2}}}}", ["'d' is of kind digits", "take sentences"]),
        (
            "{data: {dataset: t}, settings: {a: {model: {kind: gpt2, width: 30}}}}",
            ["settings.a.model", "multiple of heads"],
        ),
        ("{data: {dataset: t}, settings: {a: {model: {kind: gpt2, widht: 8}}}}", ["did you mean 'width'"]),
        (f"{{data: {{dataset: t}}, settings: {{a: {{model: {HUB}}}}}}}", ["seeds.count: 5", "set it to 1"]),
        (
            "{data: {dataset: t}, settings: {a: {model: {kind: gpt2}, represent: {layers: [last-9]}}}}",
            ["no layer 'last-9' in a model of 4 blocks"],
        ),
        (
            "{data: {dataset: t}, settings: {a: {model: {kind: gpt2}, score: {measures: [mean_kl]}}}}",
            ["mean_kl need g", "represent.decoder"],
        ),
        (
            "{data: {dataset: t}, seeds: {count: 1}, settings: {a: {model: {kind: folder, path: nowhere}}}}",
            ["model.path: no config.json in 'nowhere'"],
        ),
        (
            f"{{data: {{dataset: t}}, seeds: {{count: 1}}, settings: {{a: {{model: {HUB}}}, "
            "b: {model: {kind: gpt2}}}, across: all}",
            ["their last steps differ (a: 1, b: 600)"],
        ),
    ],
)
def test_a_language_study_that_cannot_be_is_refused(study_text: str, parts: list[str]) -> None:
    raw = yaml.safe_load(TEXT)
    defaults = {"kind": "language", "represent": {"layers": ["output"]}, "score": {"measures": ["mean_cca"]}}
    raw["studies"] = {"s": defaults | yaml.safe_load(study_text)}
    with pytest.raises(ConfigError) as error:
        load(raw)
    for part in parts:
        assert part in str(error.value)


def test_settings_of_a_language_study_lay_over_its_model() -> None:
    raw = yaml.safe_load(TEXT)
    raw["studies"] = {
        "s": {
            "kind": "language",
            "data": {"dataset": "t"},
            "model": {"kind": "gpt2", "width": 32, "heads": 2},
            "represent": {"layers": ["output"]},
            "score": {"measures": ["mean_cca"]},
            "settings": {"a": {}, "b": {"model": {"width": 8}}},
            "sweeps": {"width": {"of": ["a"], "over": ["model.width"], "values": [8, 16, 32]}},
        }
    }
    made = load(raw)[1]["s"]
    assert made.sweeps["width"]["a"] == {8: "b", 16: "a-width-16", 32: "a"}
    assert {name: (own.model.width, own.model.heads) for name, own in made.settings.items()} == {
        "a": (32, 2),
        "b": (8, 2),
        "a-width-16": (16, 2),
    }


# --- studies of dynamics --------------------------------------------------------------------------------------------

POINTS = """
datasets:
  d: {kind: digits}
  w: {kind: words}
  t: {kind: sentences}
studies:
  s: {kind: dynamics}
  angular: {data: {dataset: d}, represent: {layers: [output]}}
"""


def dynamics(study_text: str, figure: str = "") -> tuple[Config, dict[str, Expansion]]:
    """A configuration with this study of dynamics and, where one is given, this figure."""
    raw = overlaid(POINTS, base={})
    raw["studies"]["s"] |= yaml.safe_load(study_text)
    return load(raw | ({"figures": {"f": yaml.safe_load(figure)}} if figure else {}))


@pytest.mark.parametrize(
    "text",
    [
        "{train: {optimiser: {learning_rate: 0.3}}}",
        "{settings: {default: {train: {optimiser: {learning_rate: 0.3}}}}}",
        "{train: {optimiser: {learning_rate: 9}}, settings: {default: {train: {optimiser: {learning_rate: 0.3}}}}}",
    ],
)
def test_an_optimiser_of_dynamics_is_gradient_descent_where_no_kind_is_given(text: str) -> None:
    own = dynamics(text)[1]["s"].settings["default"].train.optimiser
    assert (own.kind, own.learning_rate, own.momentum, own.weight_decay) == ("sgd", 0.3, 0.0, 0.0)


def test_a_setting_keeps_the_kind_of_its_studys_optimiser() -> None:
    text = "{train: {optimiser: {kind: adam}}, settings: {a: {train: {optimiser: {learning_rate: 0.3}}}}}"
    assert dynamics(text)[1]["s"].settings["a"].train.optimiser.kind == "adam"


def test_a_study_of_dynamics_without_more_is_the_default_network() -> None:
    own = dynamics("{}")[1]["s"].settings["default"]
    assert (own.data.kind, own.model.family, own.model.depth, own.record.layers) == ("two_points", "plain", 20, [11])


LABELS = "data: {kind: labels, dataset: d}"


@pytest.mark.parametrize(
    ("study_text", "problem"),
    [
        ("{model: {depth: 10}}", "record.layers: no layer 11; layers: 1 to 10"),
        (
            "{model: {family: convolutional, depth: 9}, record: {layers: [11, 12]}}",
            "record.layers: no layer 12; layers: 1 to 11",
        ),
        ("{record: {layers: [3, 3]}}", "record.layers: a layer stands there twice"),
        (
            "{model: {family: convolutional, depth: 9, width: 100}}",
            "model.width: 10 convolutions take 10 units each, so it has to be 101 or more",
        ),
        (
            "{model: {family: residual}, train: {batch_size: 2}}",
            "train.batch_size: batches go with the family plain, not residual",
        ),
        (
            "{train: {batch_size: 2, stop_loss: 0.1}}",
            "train.stop_loss: only full-batch runs end early; leave it or train.batch_size out",
        ),
        (
            "{record: {snapshots: [0, 5]}}",
            "record.snapshots: only runs in batches keep them; set train.batch_size",
        ),
        (
            "{train: {batch_size: 2, epochs: 5}, record: {snapshots: [0, 6]}}",
            "record.snapshots: epoch 6 is after the last, 5",
        ),
        (f"{{{LABELS}}}", "train.batch_size: points of a data set are learned in batches; set it"),
        ("{data: {kind: labels, dataset: e}}", "data.dataset: no data set 'e'; data sets: d, w, t"),
        (
            "{data: {kind: labels, dataset: w}, train: {batch_size: 2}}",
            "data.dataset: 'w' has no labels of numbers; use digits, mnist, or kind: plugin",
        ),
        (
            "{data: {kind: labels, dataset: t}, train: {batch_size: 2}}",
            "data.dataset: 't' has no labels of numbers; use digits, mnist, or kind: plugin",
        ),
        ("{fit: {systems: [theory, theory]}}", "fit.systems: a system stands there twice"),
    ],
)
def test_a_study_of_dynamics_that_cannot_be_is_refused(study_text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        dynamics(study_text)
    assert str(error.value) == f"studies.s: {problem}"


@pytest.mark.parametrize(
    "study_text",
    [
        "{model: {depth: 11}}",
        "{model: {family: convolutional, depth: 9, width: 101}, record: {layers: [11]}}",
        "{train: {batch_size: 2, epochs: 5}, record: {snapshots: [0, 5]}}",
        "{train: {stop_loss: 0.1}}",
        f"{{{LABELS}, train: {{batch_size: 64}}}}",
        "{record: {layers: all}}",
        "{fit: {systems: []}}",
    ],
)
def test_a_study_of_dynamics_at_the_last_possible_value_is_accepted(study_text: str) -> None:
    dynamics(study_text)


@pytest.mark.parametrize(
    ("study_text", "parts"),
    [
        ("{train: {epoch: 3}}", ["studies.s.train", "'epoch'", "did you mean 'epochs'"]),
        ("{train: {stop_loss: 0}}", ["studies.s.train.stop_loss", "greater than 0"]),
        ("{data: {input_distances: [0]}}", ["studies.s.data.input_distances.0", "greater than 0"]),
        ("{data: {kind: xor, grid: 3}}", ["studies.s.data", "'grid'"]),
        ("{model: {dropout: 1}}", ["studies.s.model.dropout", "less than 1"]),
        ("{record: {layers: []}}", ["studies.s.record.layers"]),
        ("{record: {layers: [0]}}", ["studies.s.record.layers"]),
        ("{settings: {a: {}, b: {}}, across: [[a, b]]}", ["studies.s.across"]),
        (
            "{settings: {a: {}, b: {model: {depth: 5}}}}",
            ["studies.s (setting b): record.layers: no layer 11; layers: 1 to 5"],
        ),
    ],
)
def test_a_wrong_key_of_a_study_of_dynamics_is_named(study_text: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        dynamics(study_text)
    for part in parts:
        assert part in str(error.value)


XOR = "{settings: {default: {}, x: {data: {kind: xor}}, bare: {fit: {systems: []}}}}"


@pytest.mark.parametrize(
    ("figure", "problem"),
    [
        ("{plot: vanrossem2024_trajectories, study: angular}", "study: angular is not of kind dynamics"),
        ("{plot: vanrossem2024_collapse, study: e}", "study: no study 'e'; studies: s, angular"),
        (
            "{plot: vanrossem2024_alternatives, study: angular, settings: [default]}",
            "study: angular is not of kind dynamics",
        ),
        (
            "{plot: vanrossem2024_depth_width, depth: s, setting: default, widths: angular}",
            "widths: angular is not of kind dynamics",
        ),
        (
            "{plot: vanrossem2024_rich_lazy, study: angular, sweep: a, over_outputs: a, over_inputs: a}",
            "study: angular is not of kind dynamics",
        ),
        (
            "{plot: vanrossem2024_xor, study: s, settings: [x], rates: {study: angular, setting: default}}",
            "rates.study: angular is not of kind dynamics",
        ),
        (
            "{plot: heatmap, study: s, measure: mean_cca}",
            "study: s is of kind dynamics, which this figure does not draw",
        ),
        (
            "{plot: roeder2021_fig2, study: s, panels: [default]}",
            "study: s is of kind dynamics, which this figure does not draw",
        ),
        (
            "{plot: roeder2021_theorem, studies: {s: x}}",
            "studies: s is of kind dynamics, which this figure does not draw",
        ),
        (
            "{plot: vanrossem2024_trajectories, study: s, settings: [y]}",
            "settings: no setting 'y' in s: default, x, bare",
        ),
        (
            "{plot: vanrossem2024_trajectories, study: s, settings: [bare]}",
            "settings: bare is not fitted by theory; add to fit.systems",
        ),
        (
            "{plot: vanrossem2024_alternatives, study: s, settings: [default]}",
            "settings: default is not fitted by dy_doubled, dh_doubled, sign_flipped, term_dropped; add to fit.systems",
        ),
        (
            "{plot: vanrossem2024_final_distance, study: s, settings: [x]}",
            "settings: x learns xor, which this figure does not draw",
        ),
        (
            "{plot: vanrossem2024_final_distance, study: s, settings: [default], reference: [2.0, 1.0]}",
            "settings: default has no two points of distances 2 and 1; change the figure's reference",
        ),
        (
            "{plot: vanrossem2024_xor, study: s, settings: [x], rates: {study: s, setting: bare}}",
            "rates.setting: bare is not fitted by the theory",
        ),
        (
            "{plot: vanrossem2024_xor, study: s, settings: [x], rates: {study: s, setting: y}}",
            "rates.setting: no setting 'y': default, x, bare",
        ),
        (
            "{plot: vanrossem2024_rich_lazy, study: s, sweep: gain, over_outputs: default, over_inputs: default}",
            "sweep: no sweep 'gain' in s: ",
        ),
        (
            "{plot: vanrossem2024_depth_width, depth: s, setting: bare, widths: s}",
            "setting: bare is not fitted by theory; add to fit.systems\n"
            "figures.f.widths: x learns xor, which this figure does not draw\n"
            "figures.f.widths: bare is not fitted by theory; add to fit.systems",
        ),
    ],
)
def test_a_figure_of_dynamics_that_cannot_be_is_refused(figure: str, problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        dynamics(XOR, figure)
    assert str(error.value) == f"figures.f.{problem}"


CONTEXT = """{data: {kind: context, grid: 5}, train: {batch_size: 10}, record: {layers: [2]}, settings: {
a: {}, b: {}, layers: {record: {layers: [2, 3]}}, finer: {data: {grid: 6}}}}"""


@pytest.mark.parametrize(
    ("study_text", "figure", "problem"),
    [
        (
            "{settings: {default: {}, x: {data: {kind: xor}, record: {layers: [1, 2]}}}}",
            "{plot: vanrossem2024_xor, study: s, settings: [x], rates: {study: s, setting: default}}",
            "settings: x records 2 layers, of which this figure draws one; name one in record.layers",
        ),
        (
            "{settings: {default: {record: {layers: all}}, x: {data: {kind: xor}}}}",
            "{plot: vanrossem2024_xor, study: s, settings: [x], rates: {study: s, setting: default}}",
            "rates.setting: default records 20 layers; rates are those of one",
        ),
        (
            XOR,
            "{plot: vanrossem2024_xor, study: s, settings: [x], rates: {study: s, setting: x}}",
            "rates.setting: x learns xor, not two points",
        ),
        (
            CONTEXT,
            "{plot: vanrossem2024_context, study: s, settings: [a], planes: [a, b]}",
            "planes: b is not among the drawn settings",
        ),
        (
            CONTEXT,
            "{plot: vanrossem2024_context, study: s, settings: [a, finer], planes: [a]}",
            "settings: their points differ (data.grid 5, 6)",
        ),
        (
            CONTEXT,
            "{plot: vanrossem2024_context, study: s, settings: [a, layers], planes: [a]}",
            "settings: layers records 2 layers, of which this figure draws one; name one in record.layers",
        ),
    ],
)
def test_a_figure_that_would_mix_layers_or_points_is_refused(study_text: str, figure: str, problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        dynamics(study_text, figure)
    assert str(error.value) == f"figures.f.{problem}"


def test_the_figure_of_exclusive_or_takes_nothing_else() -> None:
    with pytest.raises(ConfigError, match=r"figures\.f\.settings: default learns two_points"):
        dynamics(XOR, "{plot: vanrossem2024_xor, study: s, settings: [default], rates: {study: s, setting: default}}")
