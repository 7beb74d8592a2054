"""Models that were trained elsewhere: the user's own modules, vision models, what is refused, and the pipeline."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from pipeline import ROOT, copy_project, planned, snakemake, write_yaml
from safetensors.torch import save_file
from torch import nn
from transformers import ViTConfig, ViTImageProcessor, ViTModel

from repalign import plugins, store
from repalign.config import load
from repalign.errors import ConfigError, DataError, PluginError, RepalignError, StoreError
from repalign.fingerprint import of_plugin
from repalign.models.pretrained import activations
from repalign.representing_pretrained import represent

CPU = torch.device("cpu")
MODELS = '''
"""Models of the tests."""
import torch
from torch import nn

from mylayers import scale


class Net(nn.Module):
    def __init__(self, width=6):
        super().__init__()
        self.hidden = nn.Linear(4, width)
        self.last = nn.Linear(width, 3)

    def forward(self, x):
        return self.last(torch.tanh(self.hidden(x))) * scale()


def net(width=6):
    torch.manual_seed(0)
    return Net(width)


def broken():
    raise ValueError("no such thing")


def number():
    return 3
'''
LAYERS = "def scale():\n    return 2.0\n"
DATA = """
import numpy as np


def points(n=80, start=0):
    x = np.random.default_rng(0).normal(size=(n, 4))
    return [f"p{start + k:03d}" for k in range(n)], x


def shuffled(n=80):
    ids, x = points(n)
    for k in np.random.default_rng(1).permutation(n):
        yield ids[k], x[k]


def uneven():
    yield "a", np.zeros(4)
    yield "b", np.zeros(5)


def twice():
    return ["a", "a"], np.zeros((2, 4))


def few():
    return ["a"], np.zeros((2, 4))


def nothing():
    return []


def torn():
    yield "a", np.zeros(4)
    raise OSError("disk gone")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with modules of the user's own."""
    own = tmp_path / "a folder"
    own.mkdir()
    for name, text in (("mymodels", MODELS), ("mylayers", LAYERS), ("mydata", DATA)):
        (own / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.chdir(own)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("mymodels", "mylayers", "mydata"):  # other tests have modules of these names
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield own
    for name in ("mymodels", "mylayers", "mydata"):
        sys.modules.pop(name, None)


def section(call="mymodels:net", points="mydata:points", options=None, **over):
    made = {
        "model": {"kind": "module", "call": call, "options": options or {}},
        "probes": {"kind": "module", "call": points, "options": {}},
        "layers": {},
        "pool": "mean",
        "batch_size": 32,
        "device": "cpu",
    }
    return made | over


def made(folder, given, weights=None):
    represent(folder / "made.h5", given, 0, weights)
    with store.opened(folder / "made.h5", "representations") as file:
        layers = store.names(file, "step-0000001/encoder")
        return {layer: store.read(file, f"step-0000001/encoder/{layer}")[0] for layer in layers}


def test_layers_are_what_the_submodules_make(folder):
    found = made(folder, section(layers={"hidden": "hidden", "output": ""}, options={"width": 5}))
    network = plugins.load("mymodels:net")(5)
    _, x = plugins.load("mydata:points")()
    with torch.no_grad():
        inputs = torch.tensor(x, dtype=torch.float32)
        np.testing.assert_allclose(found["hidden"], network.hidden(inputs).numpy(), atol=1e-6)
        np.testing.assert_allclose(found["output"], network(inputs).numpy(), atol=1e-6)


def test_modules_that_work_in_place_leave_layers_alone():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 5), nn.ReLU(inplace=True))
    x = torch.randn(20, 4)
    found = activations(network, [x], {"before": "0", "after": "1"}, "mean", CPU, "net")
    expected = network[0](x).detach().numpy()
    np.testing.assert_allclose(found["before"], expected, atol=1e-6)
    np.testing.assert_allclose(found["after"], expected.clip(0), atol=1e-6)


def test_random_weights_are_told_of_and_the_same_again(folder, caplog):
    one, other = (made(folder, section("mymodels:Net"))["output"] for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert "mymodels:Net: no file of weights; those that the function gives, random ones from seed 0" in caplog.text


def test_points_come_in_the_order_of_their_identifiers(folder):
    one, other = made(folder, section()), made(folder, section(points="mydata:shuffled"))
    assert list(one) == ["output"]
    np.testing.assert_allclose(one["output"], other["output"], atol=1e-6)


def test_weights_are_those_of_the_file(folder):
    network = plugins.load("mymodels:net")()
    with torch.no_grad():
        network.last.weight.zero_()
        network.last.bias.fill_(1.5)
    save_file(network.state_dict(), folder / "some weights.safetensors")
    found = made(folder, section(), folder / "some weights.safetensors")
    np.testing.assert_array_equal(found["output"], np.full((80, 3), 3.0, np.float32))


@pytest.mark.parametrize(
    ("given", "said", "kind"),
    [
        (section("mymodel:net"), "mymodel:net: importing mymodel fails (ModuleNotFoundError", PluginError),
        (section("mymodels:nett"), "no function 'nett' in mymodels; it has", PluginError),
        (section(options={"wide": 3}), "options {'wide': 3} do not fit its arguments", PluginError),
        (section("mymodels:broken"), "mymodels:broken: ValueError: no such thing", PluginError),
        (section("mymodels:number"), "gives a int, expected a torch.nn.Module", PluginError),
        (section(layers={"a": "hiden"}), "layer a: no submodule 'hiden'; some are: hidden", DataError),
        (section(points="mydata:uneven"), "inputs of different shapes: (4,), (5,)", DataError),
        (section(points="mydata:torn"), "mydata:torn: point 1: OSError: disk gone", PluginError),
        (section(points="mydata:twice"), "'a' stands there twice", DataError),
        (section(points="mydata:few"), "1 identifiers of 2 inputs", PluginError),
        (section(points="mydata:nothing"), "mydata:nothing: no probe points", DataError),
        (section(probes={"kind": "images", "path": "."}), "need a model that says how it takes pictures", DataError),
    ],
)
def test_what_cannot_be_run_is_named(folder, given, said, kind):
    with pytest.raises(kind, match=re.escape(said)):
        made(folder, given)
    assert not (folder / "made.h5").exists()


def test_weights_of_another_network_are_refused(folder):
    save_file(plugins.load("mymodels:net")(7).state_dict(), folder / "other.safetensors")
    with pytest.raises(StoreError, match="not the weights of mymodels:net"):
        made(folder, section(), folder / "other.safetensors")
    (folder / "cut.safetensors").write_bytes((folder / "other.safetensors").read_bytes()[:50])
    with pytest.raises(StoreError, match="a damaged one"):
        made(folder, section(), folder / "cut.safetensors")
    broken = {name: value * torch.nan for name, value in plugins.load("mymodels:net")().state_dict().items()}
    save_file(broken, folder / "nan.safetensors")
    with pytest.raises(StoreError, match="not finite"):
        made(folder, section(), folder / "nan.safetensors")


class Shaped(nn.Module):
    """Gives its input in another shape, twice or never."""

    def __init__(self, shape, times=1):
        super().__init__()
        self.inner, self.shape, self.times = nn.Identity(), shape, times

    def forward(self, x):
        for _ in range(self.times):
            self.inner(x.reshape(len(x), *self.shape))
        return x


@pytest.mark.parametrize(
    ("shape", "pool", "expected"),
    [
        ((12,), "mean", lambda x: x),
        ((3, 4), "mean", lambda x: x.reshape(-1, 3, 4).mean(axis=1)),
        ((3, 4), "first", lambda x: x.reshape(-1, 3, 4)[:, 0]),
        ((3, 4), "flatten", lambda x: x),
        ((3, 2, 2), "mean", lambda x: x.reshape(-1, 3, 4).mean(axis=2)),
        ((3, 2, 2), "flatten", lambda x: x),
    ],
)
def test_positions_are_pooled(shape, pool, expected):
    x = np.random.default_rng(0).normal(size=(5, 12)).astype(np.float32)
    batches = [torch.from_numpy(x[:3]), torch.from_numpy(x[3:])]
    found = activations(Shaped(shape), batches, {"a": "inner"}, pool, CPU, "it")["a"]
    np.testing.assert_allclose(found, expected(x), rtol=1e-6)


@pytest.mark.parametrize(
    ("network", "pool", "said"),
    [
        (Shaped((3, 2, 2)), "first", "has no first position"),
        (Shaped((2, 2, 3, 1)), "mean", "shape (3, 2, 2, 3, 1) for 3 points"),
        (Shaped((12,), times=2), "mean", "ran 2 times in one pass"),
        (Shaped((12,), times=0), "mean", "ran 0 times in one pass"),
        (Shaped((5,)), "mean", "a batch of shape (3, 12) cannot be run"),
    ],
)
def test_activations_of_another_form_are_refused(network, pool, said):
    with pytest.raises(DataError, match=re.escape(said)):
        activations(network, [torch.zeros(3, 12)], {"a": "inner"}, pool, CPU, "it")


def test_half_precision_and_several_outputs():
    class Half(nn.Module):
        def forward(self, x):
            return {"a": (x.bfloat16(), x)}

    found = activations(Half(), [torch.ones(3, 2)], {"output": ""}, "mean", CPU, "it")["output"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, 1)


def vit(folder: Path, seed: int) -> Path:
    """A small vision transformer as `save_pretrained` writes it."""
    torch.manual_seed(seed)
    config = ViTConfig(
        hidden_size=12, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, image_size=16, patch_size=8
    )
    ViTModel(config).save_pretrained(folder)
    ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folder)
    return folder


def pictures(folder: Path, count: int) -> Path:
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / ("odd ones" if number % 2 else "even") / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, size=(20, 24, 3), dtype=np.uint8)).save(path)
    return folder


def vision(model: Path, images: Path, **over):
    given = {"model": {"kind": "folder", "path": str(model)}, "probes": {"kind": "images", "path": str(images)}}
    return section(**given, layers={"middle": "layers.0", "output": ""}, **over)


def test_a_vision_model_reads_the_pictures_of_a_folder(tmp_path):
    model, images = vit(tmp_path / "a vit", 0), pictures(tmp_path / "my pictures", 6)
    found = made(tmp_path, vision(model, images, pool="first"))
    network, processor = ViTModel.from_pretrained(model).eval(), ViTImageProcessor.from_pretrained(model)
    names = sorted(path.relative_to(images).as_posix() for path in images.rglob("*.png"))
    with torch.no_grad():
        given = [Image.open(images / name) for name in names]
        hidden = network(**processor(images=given, return_tensors="pt"), output_hidden_states=True)
    np.testing.assert_allclose(found["output"], hidden.last_hidden_state[:, 0].numpy(), atol=1e-5)
    np.testing.assert_allclose(found["middle"], hidden.hidden_states[1][:, 0].numpy(), atol=1e-5)
    with store.opened(tmp_path / "made.h5", "representations") as file:
        assert store.read_texts(file, "probes/id") == names


def test_pictures_and_models_that_cannot_be_read_are_named(tmp_path):
    model, images = vit(tmp_path / "vit", 0), pictures(tmp_path / "images", 2)
    (images / "cut.png").write_bytes((images / "even/000.png").read_bytes()[:90])
    with pytest.raises(DataError, match=re.escape("cut.png: no picture that can be read")):
        made(tmp_path, vision(model, images))
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="none: no pictures"):
        made(tmp_path, vision(model, tmp_path / "none"))
    (model / "preprocessor_config.json").unlink()
    with pytest.raises(StoreError, match=re.escape("no preprocessor_config.json")):
        made(tmp_path, vision(model, images))


def test_a_link_that_leads_back_is_followed_once(tmp_path):
    images = pictures(tmp_path / "images", 2)
    (images / "even/again").symlink_to(images, target_is_directory=True)
    assert made(tmp_path, vision(vit(tmp_path / "vit", 0), images))["output"].shape == (2, 12)


def config_of(setting: str, study: str = "") -> None:
    load(yaml.safe_load(f"studies: {{s: {{kind: pretrained, {study} settings: {{a: {setting}}}}}}}"))


def test_the_config_says_what_is_wrong(folder):
    points = "probes: {kind: module, call: 'mydata:points'}"
    config_of(f"{{runs: [{{kind: module, call: 'mymodels:net'}}], {points}}}")
    for setting, said in (
        (f"{{runs: [{{kind: module, call: mymodels.net}}], {points}}}", "studies.s.settings.a.runs.0"),
        (f"{{runs: [{{kind: module, call: 'm:n', weights: w.safetensors}}], {points}}}", "no file 'w.safetensors'"),
        (f"{{runs: [{{kind: folder, path: nowhere}}], {points}}}", "runs.0.path: no config.json in 'nowhere'"),
        (
            "{runs: [{kind: module, call: 'm:n'}], probes: {kind: images, path: .}}",
            "does not say how it takes pictures",
        ),
        ("{runs: [{kind: module, call: 'm:n'}], probes: {kind: images, path: gone}}", "probes.path: no folder 'gone'"),
        ("{runs: [{kind: module, call: 'm:n'}]}", "probes"),
        (f"{{runs: [{{kind: module, call: 'm:n'}}], {points}, score: {{measures: [d_rep]}}}}", "d_rep needs decoders"),
    ):
        with pytest.raises(ConfigError, match=re.escape(said)):
            config_of(setting)


def test_the_fingerprint_knows_the_modules_that_are_imported_and_no_comment(folder):
    before = of_plugin("mymodels:net", folder)
    assert [part.partition("=")[0] for part in before.split()] == ["mylayers", "mymodels"]
    assert re.fullmatch(r"numpy=\d+\.\d+.*", of_plugin("numpy:zeros", folder))
    with pytest.raises(FileNotFoundError, match="no module 'nowhere'"):
        of_plugin("nowhere:f", folder)
    copy = folder / "copy"
    copy.mkdir()
    (copy / "mymodels.py").write_text(MODELS + "# a comment\n", encoding="utf-8")
    (copy / "mylayers.py").write_text(LAYERS, encoding="utf-8")
    assert of_plugin("mymodels:net", copy) == before
    (folder / "copy again").mkdir()
    (folder / "copy again/mymodels.py").write_text(MODELS, encoding="utf-8")
    (folder / "copy again/mylayers.py").write_text(LAYERS.replace("2.0", "3.0"), encoding="utf-8")
    assert of_plugin("mymodels:net", folder / "copy again") != before


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with two checkpoints of a module, and two vision models, after one run."""
    folder = copy_project(tmp_path_factory.mktemp("pretrained") / "a project")
    for name, text in (("mymodels", MODELS), ("mylayers", LAYERS), ("mydata", DATA)):
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    torch.manual_seed(0)
    for name in ("one", "other"):
        net = nn.ModuleDict({"hidden": nn.Linear(4, 6), "last": nn.Linear(6, 3)})
        save_file(net.state_dict(), folder / f"{name}.safetensors")
    pictures(folder / "my pictures", 60)
    runs = [{"kind": "module", "call": "mymodels:net", "weights": f"{name}.safetensors"} for name in ("one", "other")]
    vits = [{"kind": "folder", "path": vit(folder / f"vit-{seed}", seed).name} for seed in range(2)]
    score = {"measures": ["cka_debiased"], "shuffles": 2, "resamples": 0}
    raw = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    overlay = {part: dict.fromkeys(raw[part]) for part in ("datasets", "studies", "figures")}
    overlay["studies"]["nets"] = {
        "kind": "pretrained",
        "probes": {"kind": "module", "call": "mydata:points"},
        "layers": {"hidden": "hidden", "output": ""},
        "score": score,
        "settings": {"net": {"runs": runs}},
    }
    overlay["studies"]["vision"] = {
        "kind": "pretrained",
        "probes": {"kind": "images", "path": "my pictures"},
        "score": score,
        "settings": {"vit": {"runs": vits}},
    }
    write_yaml(folder / "overlay.yaml", overlay)
    snakemake(folder, overlays=["overlay.yaml"])
    return folder


def test_models_are_scored(project):
    for study, layers in (("nets", {"hidden", "output"}), ("vision", {"output"})):
        table = store.read_csv(project / f"results/scores/{study}/pairs.csv")
        assert set(table["layer_a"]) == layers
        assert table["score"].between(-0.2, 1).all()
    assert planned(project, overlays=["overlay.yaml"]) == set()


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [("mymodels.py", "torch.tanh", "torch.relu"), ("mylayers.py", "2.0", "3.0"), ("mydata.py", "n=80", "n=81")],
)
def test_an_edit_of_the_users_code_runs_its_models_again(project, file, old, new):
    path = project / file
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(old, new), encoding="utf-8")
    runs = {
        f"{stage} nets/net/seeds-00{n}-00{n}" for stage in ("represent_pretrained", "factor", "score") for n in (0, 1)
    }
    assert planned(project, overlays=["overlay.yaml"]) == runs | {"table nets"}
    path.write_text(f"# a comment\n{text}", encoding="utf-8")
    assert planned(project, overlays=["overlay.yaml"]) == set()
    path.write_text(text, encoding="utf-8")


def test_a_new_picture_runs_the_vision_models_again(project):
    path = project / "my pictures/new.png"
    Image.new("RGB", (8, 8)).save(path)
    assert {job.split()[0] for job in planned(project, overlays=["overlay.yaml"])} == {
        "represent_pretrained",
        "factor",
        "score",
        "table",
    }
    path.unlink()


def test_every_error_is_one_for_the_reader():
    assert issubclass(PluginError, RepalignError)
