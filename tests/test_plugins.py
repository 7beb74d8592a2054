"""Functions of the user's own: measures, encoders and data sets by import path, in the library and in the pipeline."""

import re
import sys

import numpy as np
import pytest
import torch
import yaml
from pipeline import ROOT, copy_project, planned, snakemake, write_yaml
from torch import nn

from repalign import plugins, store
from repalign.alignment import align
from repalign.config import load
from repalign.datasets import plugin as own_data
from repalign.errors import ConfigError, MeasureError, PluginError
from repalign.measures.evidence import Evidence
from repalign.measures.plugin import measure
from repalign.models import plugin as own_models
from repalign.models.discriminative import ManySeeds

MINE = '''
import numpy as np
import torch
from torch import nn

import repalign


def centred(x):
    return x - x.mean(axis=0)


@repalign.measure(symmetric=True, lowest=0.0, highest=1.0)
def cka(x, y):
    """Linear CKA, written once more."""
    x, y = centred(x), centred(y)
    return np.linalg.norm(x.T @ y) ** 2 / np.linalg.norm(x.T @ x) / np.linalg.norm(y.T @ y)


@repalign.measure(symmetric=True, lowest=-1.0, highest=1.0)
def first_units(x, y, weights=None):
    """Correlation of the first units."""
    covariance = np.cov(x[:, 0], y[:, 0], aweights=weights)
    return covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])


def directed(x, y):
    return x.shape[1] - y.shape[1]


def unhappy(x, y):
    raise ZeroDivisionError("division by zero")


def missing(x, y):
    return float("nan")


@repalign.measure(lowest=0.0, highest=1.0)
def outside(x, y):
    return 3.0


def undecorated(x, y):
    return cka(x, y)


@repalign.measure(symmetric=True, lowest=0.0, perfect=0.0)
def distance(x, y):
    return 1 - cka(x, y)


def changes_what_it_is_given(x, y):
    x -= x.mean(axis=0)
    y *= 0
    return 0.5


def mean_of_b(x, y):
    return y.mean()


def text(x, y):
    return "0.5"


class Network(nn.Module):
    # with a part that is not called, and a buffer

    def __init__(self, inputs, outputs, drawn):
        super().__init__()
        self.map, self.idle = nn.Linear(inputs, outputs), nn.Linear(inputs, 2)
        self.register_buffer("scale", torch.rand(1) if drawn else torch.ones(1))

    def forward(self, x):
        return self.scale * self.map(x)


class Two(nn.Module):
    def forward(self, x):
        return x, x


class Uses(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.two, self.map = Two(), nn.Linear(inputs, outputs)

    def forward(self, x):
        return self.map(self.two(x)[0])


def network(inputs, outputs, drawn=False):
    return Network(inputs, outputs, drawn)


def tuples(inputs, outputs):
    return Uses(inputs, outputs)


def frozen(inputs, outputs):
    return nn.Linear(inputs, outputs).requires_grad_(False)


def noisy(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, outputs), nn.Dropout(0.5))


def normed(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs))


def encoder(inputs, outputs, width=5):
    return nn.Sequential(nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, outputs, bias=False))


def wrong_size(inputs, outputs):
    return nn.Linear(inputs, outputs + 1)


def data(points=300, classes=4):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(points, 3))
    y = (x[:, 0] > 0) * 2 + (x[:, 1] > 0)
    return x[50:], y[50:], x[:50], y[:50]


def texts():
    return [["a"]] * 3, ["b"] * 3, [["a"]], ["b"]
'''


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A working directory with a module of the user's own."""
    (tmp_path / "mine.py").write_text(MINE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("mine", None)


def arrays():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 4))
    return {"one": x, "other": x @ rng.normal(size=(4, 6)) + 0.5 * rng.normal(size=(60, 6))}


def test_a_measure_of_ones_own_has_the_score_and_chance_of_the_built_in_one(mine):
    result = align(arrays(), ["cka", "mine:cka"], evidence=Evidence(shuffles=19, resamples=4))
    built_in, own = (result.pairs[result.pairs["measure"] == name].iloc[0] for name in ("cka", "mine:cka"))
    for column in ("score", "chance", "calibrated", "p_value"):
        np.testing.assert_allclose(own[column], built_in[column], rtol=1e-9, err_msg=column)
    assert own["direction"] == "both"
    assert np.isnan(own["low"])
    assert own["warning"] == "no interval: the function takes no `weights` of the points"


def test_a_measure_that_takes_weights_has_an_interval(mine):
    result = align(arrays(), ["mine:first_units"], evidence=Evidence(shuffles=9, resamples=50))
    row = result.pairs.iloc[0]
    x, y = (values[:, 0] for values in arrays().values())
    assert row["score"] == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert row["low"] < row["score"] < row["high"]
    assert row["warning"] == ""


def test_a_measure_without_a_decorator_is_directed_and_unbounded(mine):
    rows = align(arrays(), ["mine:directed"], evidence=None).pairs.set_index("direction")
    assert rows.loc["a_to_b", "score"] == -2
    assert rows.loc["b_to_a", "score"] == 2


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("unhappy", "mine:unhappy: ZeroDivisionError: division by zero"),
        ("missing", "mine:missing: gives nan"),
        ("outside", "mine:outside: gives a score of 3, outside its range of 0 to 1"),
        ("text", "gives the text '0.5', expected a number"),
    ],
)
def test_a_score_that_cannot_be_is_a_marked_problem(mine, name, said):
    rows = align(arrays(), ["mine:cka", f"mine:{name}"], evidence=Evidence(shuffles=4, resamples=0)).pairs
    own = rows[rows["measure"] == f"mine:{name}"]
    assert own["problem"].str.contains(said, regex=False).all()
    assert own["score"].isna().all()
    assert np.isfinite(rows[rows["measure"] == "mine:cka"]["score"]).all()


def test_without_bounds_a_higher_score_is_closer_and_a_distance_is_read_the_other_way(mine):
    names = ["mine:cka", "mine:undecorated", "mine:distance"]
    rows = align(arrays(), names, evidence=Evidence(shuffles=19, resamples=0)).pairs
    bounded, distance = (rows[rows["measure"] == f"mine:{name}"].iloc[0] for name in ("cka", "distance"))
    free = rows[(rows["measure"] == "mine:undecorated") & (rows["direction"] == "a_to_b")].iloc[0]
    assert bounded["p_value"] == 1 / 20
    for column in ("p_value", "calibrated", "z"):
        assert free[column] == pytest.approx(bounded[column]), column
        assert distance[column] == pytest.approx(bounded[column]), column


def test_a_measure_that_changes_its_arguments_changes_no_other_score(mine):
    rows = align(arrays(), ["mine:changes_what_it_is_given", "mine:mean_of_b"], evidence=None).pairs
    own = rows[(rows["measure"] == "mine:mean_of_b") & (rows["direction"] == "a_to_b")].iloc[0]
    assert own["score"] == pytest.approx(arrays()["other"].mean())


def test_a_measure_that_is_not_there_is_named(mine):
    with pytest.raises(PluginError, match="no function 'ckaa' in mine; it has"):
        align(arrays(), ["mine:ckaa"])
    with pytest.raises(MeasureError, match="did you mean 'mean_cca'"):
        align(arrays(), ["mean_caa"])


def test_the_perfect_score_is_an_end_of_the_range():
    with pytest.raises(ValueError, match="neither the lowest"):
        measure(lowest=0.0, highest=2.0, perfect=1.0)
    with pytest.raises(ValueError, match="neither the lowest"):
        measure(perfect=0.0)  # of a distance or of a similarity?
    with pytest.raises(ValueError, match="it is a number"):
        measure(lowest=0.0, perfect=float("inf"))


def encoder_section(call="mine:encoder", hidden=None, **options):
    return {
        "output_dim": 2,
        "encoder": {"kind": "plugin", "call": call, "options": options, "hidden": hidden or {}},
        "decoder": {"kind": "label_table"},
    }


def test_an_encoder_of_ones_own_is_run_for_many_seeds_at_once(mine):
    many = ManySeeds(encoder_section(hidden={"first": "1"}, width=7), 3, 4, torch.device("cpu"))
    weights = many.initial_weights([0, 1])
    x = torch.randn(10, 3)
    f, g = many.layers(weights, x)
    assert {name: tuple(values.shape) for name, values in f.items()} == {"first": (2, 10, 7), "output": (2, 10, 2)}
    assert g["output"].shape == (2, 4, 2)
    for seed in range(2):
        own = {name.removeprefix("encoder.network."): value[seed] for name, value in weights.items()}
        hidden = torch.tanh(x @ own["0.weight"].T + own["0.bias"])
        torch.testing.assert_close(f["first"][seed], hidden)
        torch.testing.assert_close(f["output"][seed], hidden @ own["2.weight"].T)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        (encoder_section("mine:wrong_size"), "gives (10, 3) for 10 points; expected (10, 2)"),
        (encoder_section(hidden={"first": "9"}), "hidden first: no submodule '9'"),
        (encoder_section(depth=3), "options {'depth': 3} do not fit its arguments"),
        (encoder_section("mine:frozen"), "mine:frozen: weight, bias would be trained too"),
        (encoder_section("mine:network", drawn=True), "mine:network: scale is drawn at random"),
        (encoder_section("mine:data"), "do not fit|expected a torch.nn.Module"),
    ],
)
def test_an_encoder_that_does_not_fit_is_named(mine, section, said):
    with pytest.raises(PluginError, match=said if "|" in said else re.escape(said)):
        ManySeeds(section, 3, 4, torch.device("cpu")).layers({}, torch.zeros(10, 3)) if "gives" not in said else (
            own_models.build(section["encoder"], 3, 2)(torch.zeros(10, 3))
        )


@pytest.mark.parametrize(
    ("section", "said"),
    [
        (encoder_section("mine:network", hidden={"idle": "idle"}), "hidden idle: the submodule is not called"),
        (encoder_section("mine:tuples", hidden={"two": "two"}), "hidden two: gives a tuple, expected points x units"),
        (encoder_section("mine:noisy"), "mine:noisy: the forward pass of all seeds at once: RuntimeError"),
        (encoder_section("mine:normed"), "mine:normed: the forward pass of all seeds at once: RuntimeError"),
    ],
)
def test_a_forward_pass_that_does_not_fit_is_named(mine, section, said):
    many = ManySeeds(section, 3, 4, torch.device("cpu"))
    weights = many.initial_weights([0, 1])
    with pytest.raises(PluginError, match=re.escape(said)):
        many.layers(weights, torch.zeros(10, 3))


def test_a_buffer_that_is_the_same_for_all_seeds_is_kept(mine):
    many = ManySeeds(encoder_section("mine:network"), 3, 4, torch.device("cpu"))
    weights = many.initial_weights([0, 1])
    f, _ = many.layers(weights, torch.ones(10, 3))
    assert not torch.equal(weights["encoder.network.map.weight"][0], weights["encoder.network.map.weight"][1])
    own = weights["encoder.network.map.weight"].sum(dim=2) + weights["encoder.network.map.bias"]
    torch.testing.assert_close(f["output"][:, 0], own)


def test_a_module_that_is_none_is_named(mine, monkeypatch):
    monkeypatch.setattr(plugins.load("mine:encoder").__globals__["nn"], "Sequential", lambda *_: 3)
    with pytest.raises(PluginError, match=re.escape("gives a int, expected a torch.nn.Module")):
        own_models.build(encoder_section()["encoder"], 3, 2)
    assert nn.Linear  # the module itself is left alone


def data_section(call="mine:data", **options):
    return {"call": call, "options": options, "classes": 4, "seed": 0}


def test_a_data_set_of_ones_own_is_shuffled_once(mine):
    made = own_data.make(data_section(), {})
    x, y, x_test, _ = plugins.load("mine:data")()
    assert (made.x_train.dtype, made.y_train.dtype) == (np.float32, np.int64)
    order = np.lexsort(made.x_train.T)
    np.testing.assert_array_equal(made.x_train[order], x.astype(np.float32)[np.lexsort(x.astype(np.float32).T)])
    assert not np.array_equal(made.y_train, y)
    np.testing.assert_array_equal(made.x_test, x_test.astype(np.float32))


@pytest.mark.parametrize(
    ("section", "said"),
    [
        (data_section(points=40), "mine:data: train: inputs of shape (0, 3)"),
        (data_section() | {"classes": 2}, "labels from 0 to 3, expected 0 to 1"),
        (data_section("mine:texts"), "y_train holds <U1; labels are integers"),
        (data_section("mine:centred"), "do not fit its arguments"),
    ],
)
def test_a_data_set_that_is_none_is_named(mine, section, said):
    with pytest.raises(PluginError, match=re.escape(said)):
        own_data.make(section, {})


def test_a_hidden_layer_is_not_called_output():
    encoder = "{kind: plugin, call: 'mine:encoder', hidden: {output: '0'}}"
    raw = f"datasets: {{d: {{kind: digits}}}}\nstudies: {{s: {{data: {{dataset: d}}, train: {{encoder: {encoder}}}}}}}"
    with pytest.raises(ConfigError, match=re.escape("studies.s.train.encoder: hidden: output is the network's own")):
        load(yaml.safe_load(raw))


def test_the_config_takes_import_paths_and_still_names_the_nearest_measure():
    base = "datasets: {d: {kind: digits}}\nstudies: {s: {data: {dataset: d}, score: {measures: [%s]}}}"
    load(yaml.safe_load(base % "mean_cca, 'mine:cka'"))
    with pytest.raises(ConfigError, match=r"studies\.s\.score\.measures\.0: .*did you mean 'mean_cca'\?"):
        load(yaml.safe_load(base % "mean_caa"))
    with pytest.raises(ConfigError, match=re.escape("studies.s.score.measures.0: String should match pattern")):
        load(yaml.safe_load(base % "'mine:'"))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A study of nothing but the user's own functions, after one run."""
    folder = copy_project(tmp_path_factory.mktemp("plugins") / "a project")
    for name in ("mymeasures", "mymodels", "mydata"):
        (folder / f"{name}.py").write_text(MINE, encoding="utf-8")
    raw = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    overlay = {part: dict.fromkeys(raw[part]) for part in ("datasets", "studies", "figures")}
    overlay["datasets"] |= {
        "mine": {"kind": "plugin", "call": "mydata:data", "classes": 4},
        "digits_real": {"kind": "digits"},
    }
    overlay["studies"]["mine"] = {
        "data": {"dataset": "mine"},
        "train": {
            "steps": 5,
            "batch_size": 20,
            "encoder": {"kind": "plugin", "call": "mymodels:encoder", "hidden": {"first": "1"}},
            "decoder": {"kind": "label_table"},
        },
        "represent": {"layers": ["first", "output"]},
        "score": {"measures": ["cka", "mymeasures:cka"], "shuffles": 2, "resamples": 0},
        "seeds": {"count": 2, "block": 2},
    }
    overlay["figures"]["mine"] = {"plot": "heatmap", "study": "mine", "measure": "mymeasures:cka"}
    write_yaml(folder / "overlay.yaml", overlay)
    snakemake(folder, overlays=["overlay.yaml"])
    return folder


def test_all_three_go_through_the_pipeline(project):
    table = store.read_csv(project / "results/scores/mine/pairs.csv").set_index("measure")
    own, built_in = table.loc["mymeasures:cka"], table.loc["cka"]
    built_in = built_in[built_in["side"] == "f"]
    assert set(own["layer_a"]) == {"first", "output"}
    np.testing.assert_allclose(own["score"].to_numpy(), built_in["score"].to_numpy(), rtol=1e-5)
    assert planned(project, overlays=["overlay.yaml"]) == set()


BLOCK = "mine/default/seeds-000-001"
AFTER = {f"factor {BLOCK}", f"score {BLOCK}", "table mine", "plot_mine"}


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("mymeasures.py", "** 2", "** 2.0", {f"score {BLOCK}", "table mine", "plot_mine"}),
        ("mymodels.py", "nn.Tanh", "nn.ReLU", {f"train {BLOCK}", f"represent {BLOCK}", *AFTER}),
        ("mydata.py", "points=300", "points=301", {"prepare mine", f"train {BLOCK}", f"represent {BLOCK}", *AFTER}),
    ],
)
def test_an_edit_runs_what_uses_it_and_a_comment_nothing(project, file, old, new, expected):
    path = project / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    assert planned(project, overlays=["overlay.yaml"]) == expected
    path.write_text(f"# a comment\n{text}", encoding="utf-8")
    assert planned(project, overlays=["overlay.yaml"]) == set()
    path.write_text(text, encoding="utf-8")


def test_a_module_that_is_not_there_is_named(project):
    (project / "mymodels.py").rename(project / "away.py")
    run = snakemake(project, "--dry-run", overlays=["overlay.yaml"], check=False)
    (project / "away.py").rename(project / "mymodels.py")
    assert run.returncode != 0
    assert "mymodels:encoder: no module 'mymodels', neither in the working directory nor installed" in run.stdout
