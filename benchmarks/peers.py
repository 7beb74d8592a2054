"""repalign's alignment engine beside installable peers, in one run on planted data; prints Markdown tables.

    .venv/bin/python benchmarks/peers.py [--representations 20] [--points 10000] [--units 256] [--threads 1]
    .venv/bin/python benchmarks/peers.py --from-disk [--representations 2] [--points 1000000]

Peers are optional, see benchmarks/requirements.txt; absent ones are listed. All contenders take turns in one process,
every repeat; peak memory is measured in a fresh process each. Planted: a shared Gaussian signal with variances 1 / l^2,
through one random linear map a representation, plus white noise with half a per cent of the variance.
"""

import argparse
import contextlib
import importlib.metadata
import io
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
import types
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import scipy.linalg
import sklearn
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score

from repalign.alignment import align

Array = NDArray[Any]
Pair = tuple[int, int]
MEASURES = {
    "mean_cca": "mean CCA",
    "svcca": "SVCCA, 99 % of the variance",
    "cka": "linear CKA",
    "procrustes_distance": "Procrustes distance",
    "affine_r2_in_sample": "R2 in sample, affine",
}
MIB = 2**20


# Planted data


def planted(representations: int, points: int, units: int, start: int = 0) -> Iterable[Array]:
    """Blocks (points, units) in float32, one a representation; `start` numbers the block of points."""
    signal = np.random.default_rng([0, start]).standard_normal((points, units), dtype=np.float32)
    signal /= np.arange(1, units + 1, dtype=np.float32)
    for index in range(representations):
        mixing = np.random.default_rng([1, index]).standard_normal((units, units), dtype=np.float32)
        block = signal @ mixing
        noise = np.random.default_rng([2, index, start]).standard_normal(block.shape, dtype=np.float32)
        deviation = np.sqrt(0.005 * np.sum(1 / np.arange(1, units + 1) ** 2))
        yield block + np.float32(deviation) * noise


# repalign


def ours(arrays: Sequence[Any], measures: Sequence[str] = tuple(MEASURES)) -> dict[str, dict[Pair, float]]:
    """Scores of all pairs i < j: of j from i where a measure is directed. Arrays may be HDF5 datasets."""
    table = align(dict(zip(names(len(arrays)), arrays, strict=True)), measures=list(measures), evidence=None).pairs
    number = {name: index for index, name in enumerate(names(len(arrays)))}
    scores: dict[str, dict[Pair, float]] = {measure: {} for measure in measures}
    wanted = table[table["direction"] != "b_to_a"]
    rows = zip(wanted["name_a"], wanted["name_b"], wanted["measure"], wanted["score"], strict=True)
    for a, b, measure, score in rows:
        if number[a] < number[b]:
            scores[measure][number[a], number[b]] = float(score)
    return scores


def names(count: int) -> list[str]:
    return [f"r{index:03d}" for index in range(count)]


# Contenders: `prepare` once a representation, then `score` once a pair


@dataclass
class Contender:
    name: str
    kind: Literal["package", "plain", "cached"]
    measure: str
    score: Callable[[Any, Any], Any]
    prepare: Callable[[Array], Any] = field(default=lambda array: array)
    note: str = ""
    comparable: bool = True  # whether its score is the same quantity as ours


def centred(x: Array) -> Array:
    return np.asarray(x - x.mean(axis=0))


def orthonormal(x: Array) -> Array:
    return np.linalg.qr(centred(x))[0]


def unit(x: Array) -> Array:
    x = centred(x)
    return np.asarray(x / np.linalg.norm(x))


def kept(x: Array) -> Array:
    """Principal components with 99 % of the variance."""
    return np.asarray(PCA(0.99).fit_transform(x))


def values(matrix: Array) -> Array:
    return np.asarray(scipy.linalg.svdvals(matrix, check_finite=False))


def distance(nuclear: Any) -> float:
    return float(np.sqrt(2 - 2 * nuclear))


def share(x: Array, y: Array) -> float:
    """Share of y's variance that the orthonormal columns of x hold."""
    return float((np.linalg.norm(x.T @ y) / np.linalg.norm(y)) ** 2)


def plain() -> list[Contender]:
    """The formulas with NumPy, SciPy and scikit-learn, pair by pair, as one would write them in a notebook."""

    def regression(x: Array, y: Array) -> float:
        return float(r2_score(y, LinearRegression().fit(x, y).predict(x), multioutput="variance_weighted"))

    def cka(x: Array, y: Array) -> float:
        x, y = centred(x), centred(y)
        return float(np.linalg.norm(x.T @ y) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)))

    return [
        Contender(
            "SciPy subspace_angles",
            "plain",
            "mean_cca",
            lambda x, y: np.cos(scipy.linalg.subspace_angles(centred(x), centred(y))).mean(),
        ),
        Contender("NumPy QR", "plain", "mean_cca", lambda x, y: values(orthonormal(x).T @ orthonormal(y)).mean()),
        Contender(
            "scikit-learn PCA, NumPy QR",
            "plain",
            "svcca",
            lambda x, y: values(orthonormal(kept(x)).T @ orthonormal(kept(y))).mean(),
        ),
        Contender("NumPy", "plain", "cka", cka),
        Contender(
            "SciPy orthogonal_procrustes",
            "plain",
            "procrustes_distance",
            lambda x, y: distance(scipy.linalg.orthogonal_procrustes(unit(x), unit(y))[1]),
        ),
        Contender(
            "NumPy nuclear norm",
            "plain",
            "procrustes_distance",
            lambda x, y: distance(np.linalg.norm(unit(x).T @ unit(y), "nuc")),
        ),
        Contender("scikit-learn LinearRegression", "plain", "affine_r2_in_sample", regression),
        Contender("NumPy QR", "plain", "affine_r2_in_sample", lambda x, y: share(orthonormal(x), centred(y))),
    ]


def cached() -> list[Contender]:
    """The same by a careful hand that keeps what belongs to one representation: no package, so not a peer."""

    def with_norm(x: Array) -> tuple[Array, float]:
        x = centred(x)
        return x, float(np.linalg.norm(x.T @ x))

    def cka(x: tuple[Array, float], y: tuple[Array, float]) -> float:
        return float(np.linalg.norm(x[0].T @ y[0]) ** 2 / (x[1] * y[1]))

    return [
        Contender("bases kept", "cached", "mean_cca", lambda x, y: values(x.T @ y).mean(), orthonormal),
        Contender("bases kept", "cached", "svcca", lambda x, y: values(x.T @ y).mean(), lambda x: orthonormal(kept(x))),
        Contender("norms kept", "cached", "cka", cka, with_norm),
        Contender("scaled once", "cached", "procrustes_distance", lambda x, y: distance(values(x.T @ y).sum()), unit),
        Contender(
            "bases kept",
            "cached",
            "affine_r2_in_sample",
            lambda x, y: share(x[0], y[1]),
            lambda x: (orthonormal(x), centred(x)),
        ),
    ]


def anatome() -> list[Contender]:
    # The package imports uutils, which it does not declare and none of these functions uses.
    stub = types.ModuleType("uutils")
    stub.torch_uu = types.ModuleType("uutils.torch_uu")  # type: ignore[attr-defined]
    for module in (stub, stub.torch_uu):
        sys.modules.setdefault(module.__name__, module)
    from anatome import similarity

    return [
        Contender(
            "ultimate-anatome",
            "package",
            "mean_cca",
            lambda x, y: similarity.cca(x, y, "qr")[2].mean(),
            torch.from_numpy,
        ),
        Contender(
            "ultimate-anatome",
            "package",
            "svcca",
            lambda x, y: 1 - similarity.svcca_distance(x, y, 0.99, "qr"),
            torch.from_numpy,
            "share of the singular values, not of their squares",
        ),
        Contender(
            "ultimate-anatome",
            "package",
            "cka",
            lambda x, y: 1 - similarity.linear_cka_distance(x, y, False),
            torch.from_numpy,
        ),
        Contender(
            "ultimate-anatome",
            "package",
            "procrustes_distance",
            lambda x, y: distance(1 - float(similarity.orthogonal_procrustes_distance(x, y))),
            torch.from_numpy,
        ),
    ]


def netrep() -> list[Contender]:
    from netrep.metrics import LinearMetric

    def score(alpha: float) -> Callable[[Any, Any], float]:
        def cosine(x: Any, y: Any) -> float:
            return float(np.cos(LinearMetric(alpha).finalize_fit(x[1], y[1]).score(x[0], y[0])))

        return cosine

    def whitened(alpha: float) -> Callable[[Array], Any]:
        return lambda x: (x, LinearMetric(alpha).partial_fit(x))

    note = "whitening kept"
    return [
        Contender("netrep", "package", "mean_cca", score(0.0), whitened(0.0), note),
        Contender(
            "netrep", "package", "procrustes_distance", lambda x, y: distance(score(1.0)(x, y)), whitened(1.0), note
        ),
    ]


def latentis() -> list[Contender]:
    from latentis.measure.functional.svcca import svcca

    # In float32 its inverse covariance is not positive on this data, and it fails.
    # Its SVCCA truncates the list of correlations instead of the data, so it is not timed as one.
    return [
        Contender(
            "latentis",
            "package",
            "mean_cca",
            lambda x, y: svcca(x, y, variance_percentage=1.0),
            lambda x: torch.from_numpy(x).double(),
            "ridge 1e-6; float64",
        )
    ]


def cca_zoo() -> list[Contender]:
    from cca_zoo.linear import CCA
    from cca_zoo.metrics import pairwise_correlations

    def score(x: Array, y: Array) -> float:
        model = CCA(n_components=min(x.shape[1], y.shape[1])).fit([x, y])
        return float(pairwise_correlations(model.transform([x, y]))[0, 1].mean())

    return [Contender("cca-zoo", "package", "mean_cca", score, note="in float32 it drops directions")]


def repsim() -> list[Contender]:
    import repsim

    note = "mean of the squares"
    return [
        Contender("repsim", "package", "mean_cca", lambda x, y: repsim.cca([x, y])[0, 1], note=note, comparable=False),
        Contender("repsim", "package", "svcca", lambda x, y: repsim.svcca([x, y])[0, 1], note=note, comparable=False),
    ]


def ckatorch() -> list[Contender]:
    from ckatorch.core import cka_base

    return [Contender("ckatorch", "package", "cka", cka_base, torch.from_numpy, "N x N matrices")]


PACKAGES: dict[str, Callable[[], list[Contender]]] = {
    "netrep": netrep,
    "ultimate-anatome": anatome,
    "latentis": latentis,
    "cca-zoo": cca_zoo,
    "repsim": repsim,
    "ckatorch": ckatorch,
}


def contenders(packages: Iterable[str] = tuple(PACKAGES)) -> tuple[list[Contender], dict[str, str]]:
    """All that can run here, and the version of every package or why it cannot."""
    found, state = [*plain(), *cached()], {}
    for package in packages:
        try:
            state[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            state[package] = "not installed"
            continue
        try:
            found += PACKAGES[package]()
        except ImportError as error:
            state[package] += f", cannot be imported: {error}"
    return sorted(found, key=lambda entry: list(MEASURES).index(entry.measure)), state


# Seconds


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds and result; peers that print are kept quiet."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        result = call()
        return time.perf_counter() - start, result


@dataclass
class Run:
    """Repeated timings of one contender. `pairs` are those it is timed on, the rest is scaled."""

    contender: Contender
    pairs: list[Pair]
    once: bool
    seconds: list[float] = field(default_factory=list)
    scores: dict[Pair, float] = field(default_factory=dict)


def all_pairs(run: Run, arrays: Sequence[Array]) -> float:
    """Seconds for all pairs, scaled from those that are timed: preparation by representations, scores by pairs."""
    used = sorted({index for pair in run.pairs for index in pair})
    preparing, ready = timed(lambda: {index: run.contender.prepare(arrays[index]) for index in used})
    scoring, scores = timed(lambda: [float(run.contender.score(ready[i], ready[j])) for i, j in run.pairs])
    run.scores = dict(zip(run.pairs, scores, strict=True))
    count = len(arrays)
    return preparing * count / len(used) + scoring * count * (count - 1) / 2 / len(run.pairs)


def plan(contender: Contender, arrays: Sequence[Array], limit: float, few: int) -> Run:
    """One pair to warm up, one to see how many fit into the limit; a very slow one stays at its first."""
    pairs = list(itertools.combinations(range(len(arrays)), 2))
    run = Run(contender, pairs[:1], once=True)
    start = time.perf_counter()
    run.seconds = [all_pairs(run, arrays)]
    if time.perf_counter() - start > limit / 3:
        return run
    start = time.perf_counter()
    whole = all_pairs(run, arrays)  # the first call had its imports and caches
    one = time.perf_counter() - start
    if whole > limit:  # spread over the table, so that few pairs see many representations
        pairs = pairs[:: max(1, len(pairs) // few)][:few] if one * few <= limit else pairs[:1]
    return Run(contender, pairs, once=False)


# The floor


class Floor:
    """The bare products of all pairs, one eigenproblem a representation, three singular-value problems a pair."""

    def __init__(self, arrays: Sequence[Array], most: int = 190) -> None:
        self.count, self.units = len(arrays), arrays[0].shape[1]
        self.stack = np.concatenate([centred(x) for x in arrays], axis=1)
        self.pairs = list(itertools.combinations(range(self.count), 2))
        self.grams, whitening, sizes = [], [], []
        for index in range(self.count):
            block = self.block(index).astype(np.float64)
            gram = block.T @ block
            variances, vectors = np.linalg.eigh(gram)
            variances, vectors = variances[::-1], vectors[:, ::-1]
            whitening.append(vectors / np.sqrt(variances))
            sizes.append(int(np.searchsorted(np.cumsum(variances) / variances.sum(), 0.99)) + 1)
            self.grams.append(gram)
        self.problems: list[Array] = []  # of at most `most` pairs, the rest is scaled
        self.timed_pairs = self.pairs[:: max(1, len(self.pairs) // most)][:most]
        for i, j in self.timed_pairs:
            cross = self.block(i).T.astype(np.float64) @ self.block(j)
            canonical = whitening[i].T @ cross @ whitening[j]
            self.problems += [cross, canonical, np.ascontiguousarray(canonical[: sizes[i], : sizes[j]])]
        self.kept = statistics.median(sizes)
        self.values_name, self.values = fastest(
            {
                "scipy.linalg.svdvals": values,
                "numpy.linalg.svd": lambda matrix: np.linalg.svd(matrix, compute_uv=False),
                "torch.linalg.svdvals": lambda matrix: torch.linalg.svdvals(torch.from_numpy(matrix)),
            },
            self.problems[:6],
        )
        self.eigen_name, self.eigen = fastest(
            {
                "scipy.linalg.eigh": lambda matrix: scipy.linalg.eigh(matrix, check_finite=False),
                "scipy.linalg.eigh, evd": lambda matrix: scipy.linalg.eigh(matrix, check_finite=False, driver="evd"),
                "numpy.linalg.eigh": np.linalg.eigh,
                "torch.linalg.eigh": lambda matrix: torch.linalg.eigh(torch.from_numpy(matrix)),
            },
            self.grams[:4],
        )
        self.parts: dict[str, list[float]] = {name: [] for name in ("products", "eigenproblems", "singular values")}
        self.squares: list[float] = []

    def block(self, index: int) -> Array:
        return self.stack[:, index * self.units : (index + 1) * self.units]

    def products(self) -> None:
        for index in range(self.count - 1):
            self.block(index).T @ self.stack[:, (index + 1) * self.units :]

    def measure(self) -> None:
        """One repeat of every part."""
        scale = len(self.pairs) / len(self.timed_pairs)
        self.parts["products"].append(timed(self.products)[0])
        self.parts["eigenproblems"].append(timed(lambda: [self.eigen(gram) for gram in self.grams])[0])
        self.parts["singular values"].append(scale * timed(lambda: [self.values(k) for k in self.problems])[0])
        self.squares.append(scale * timed(lambda: [np.linalg.eigvalsh(k.T @ k) for k in self.problems])[0])

    def seconds(self, singular_values: list[float] | None = None) -> list[float]:
        parts = {**self.parts, "singular values": singular_values or self.parts["singular values"]}
        return [sum(repeat) for repeat in zip(*parts.values(), strict=True)]


def fastest(
    routines: dict[str, Callable[[Array], Any]], matrices: Sequence[Array]
) -> tuple[str, Callable[[Array], Any]]:
    def best(routine: Callable[[Array], Any]) -> float:
        return min(timed(lambda: [routine(matrix) for matrix in matrices])[0] for _ in range(5))

    name = min(routines, key=lambda key: best(routines[key]))
    return name, routines[name]


# Peak memory, in a fresh process


def resident(entry: str) -> float:
    """MiB of VmRSS (now) or VmHWM (the peak). Unlike ru_maxrss, the peak does not start from the parent's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(entry):
            return int(line.split()[1]) * 1024 / MIB
    raise SystemExit("peak memory needs /proc/self/status, so Linux; use --no-memory")


def child(task: str, path: str, threads: int) -> list[float]:
    """Runs a task of `serve` in its own process; its printed numbers."""
    command = [sys.executable, __file__, "--serve", task, path, "--threads", str(threads)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise SystemExit(f"{task} failed:\n{answer.stderr}")
    return [float(word) for word in answer.stdout.split()[-2:]]


def serve(task: str, path: str) -> None:
    """Prints seconds and the peak in MiB above what the interpreter, its imports and arrays in memory hold."""
    if task.startswith(("disk:repalign", "ours")):
        ours(list(planted(2, 64, 4)))  # imports
    if task.startswith("disk:"):
        with h5py.File(path) as file:
            sources = [file[name] for name in file]
            before = resident("VmRSS")
            seconds, _ = timed(lambda: DISK_TASKS[task](sources))
            print(seconds, resident("VmHWM") - before)
        return
    kind, measure, name = task.split(":")
    files = sorted(Path(path).iterdir())
    if kind == "ours":
        arrays = [np.load(file) for file in files]
        before = resident("VmRSS")
        seconds, _ = timed(lambda: ours(arrays))
    else:
        arrays = [np.load(file) for file in files[:2]]
        entries, _ = contenders([name] if kind == "package" else [])
        chosen = next(c for c in entries if (c.kind, c.measure, c.name) == (kind, measure, name))
        before = resident("VmRSS")
        seconds, _ = timed(lambda: all_pairs(Run(chosen, [(0, 1)], once=True), arrays))
    print(seconds, resident("VmHWM") - before)


# Tables


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def middle(seconds: Sequence[float], digits: int = 2) -> str:
    return f"{statistics.median(seconds):.{digits}f}"


def ratio(above: Sequence[float], below: Sequence[float]) -> str:
    """Median of the ratios of the repeats, with their range."""
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    return f"{statistics.median(ratios):.2f} (from {min(ratios):.2f} to {max(ratios):.2f})"


def heading(options: argparse.Namespace) -> None:
    print(
        f"{options.representations} representations of {options.points:,} points x {options.units} units, float32; "
        f"{options.threads} thread{'s' if options.threads > 1 else ''}, "
        f"median of {options.repeats} repeats in one run. NumPy {np.__version__}, SciPy {scipy.__version__}, "
        f"scikit-learn {sklearn.__version__}, torch {torch.__version__}.\n"
    )


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def in_memory(options: argparse.Namespace) -> None:
    arrays = list(planted(options.representations, options.points, options.units))
    entries, state = contenders()
    say("floor: setting up")
    floor = Floor(arrays)
    runs, failed = [], []
    for entry in entries:
        try:
            runs.append(plan(entry, arrays, options.limit, options.few))
        except Exception as error:  # whatever a peer raises on this data is its result
            failed.append(f"{MEASURES[entry.measure]}, {entry.name}: {error}")
            continue
        say(f"{entry.measure}, {entry.name} ({entry.kind}): {len(runs[-1].pairs)} pairs timed")
    together: list[float] = []
    scores: dict[str, dict[Pair, float]] = {}
    ours(arrays[:2])  # imports and caches
    for repeat in range(options.repeats):
        say(f"repeat {repeat + 1}")
        seconds, scores = timed(lambda: ours(arrays))
        together.append(seconds)
        floor.measure()
        for run in runs:
            if not run.once:
                run.seconds.append(all_pairs(run, arrays))
    peaks = {} if options.no_memory else peak_memory(arrays, runs, options.threads)

    heading(options)
    everything = len(floor.pairs)
    kinds = {"package": "", "plain": "", "cached": ", by hand"}
    rows = [
        [
            MEASURES[run.contender.measure],
            run.contender.name + kinds[run.contender.kind],
            middle(run.seconds) + ("" if len(run.pairs) == everything else f" (from {len(run.pairs)} pairs)"),
            peaks.get(id(run), "-"),
            difference(run, scores),
            run.contender.note,
        ]
        for run in runs
    ]
    rows.append(["**all five**", "**repalign**", f"**{middle(together)}**", peaks.get(0, "-"), "", ""])
    rows.append(["floor", "bare products and problems", middle(floor.seconds()), "", "", ""])
    table(["measure", "by", "seconds, all pairs", "peak MiB", "largest difference", "convention"], rows)
    print("Peak: above the interpreter and the arrays; of one pair for the others, of all pairs for repalign.")
    print(
        "By hand: what belongs to one representation is computed once and kept; no package, so not counted as a peer."
    )
    print("R2: one direction a pair for the others, both for repalign.")
    print(f"repalign against the formulas in float64, three pairs: {against_float64(arrays[:3], scores)}.\n")
    for failure in failed:
        print(f"Failed on this data: {failure}\n")
    table(
        ["part of the floor", "seconds", "by"],
        [
            ["matrix products, pairs", middle(floor.parts["products"]), "NumPy, one product a representation, float32"],
            ["eigenproblems", middle(floor.parts["eigenproblems"]), f"{floor.eigen_name}, float64"],
            [
                "singular values",
                middle(floor.parts["singular values"]),
                f"{floor.values_name}, float64: mean CCA, Procrustes, SVCCA at {floor.kept:.0f} kept",
            ],
            [
                "(in the last ratio only)",
                middle(floor.squares),
                "the same singular values to half the digits, eigvalsh of K'K",
            ],
        ],
    )
    ratios(runs, together, floor)
    table(["package", "version"], state.items())
    print("Not timed: rsatoolbox, pytorch-cka and CKA in latentis and repsim (N x N matrices);")
    print("sklearn.cross_decomposition.CCA (iterative); netrep and the original anatome are not on the package index.")


def difference(run: Run, scores: dict[str, dict[Pair, float]]) -> str:
    mine = scores.get(run.contender.measure)
    if mine is None or not run.contender.comparable:
        return "-"
    return f"{max(abs(score - mine[pair]) for pair, score in run.scores.items()):.1e}"


def against_float64(arrays: Sequence[Array], scores: dict[str, dict[Pair, float]]) -> str:
    """Largest difference of every measure: the others run in float32, so theirs from ours are mostly their own."""
    exact = [array.astype(np.float64) for array in arrays]
    found = []
    for entry in cached():
        run = Run(entry, list(itertools.combinations(range(len(exact)), 2)), once=True)
        all_pairs(run, exact)
        found.append(f"{MEASURES[entry.measure]} {difference(run, scores)}")
    return "; ".join(found)


def peak_memory(arrays: Sequence[Array], runs: Sequence[Run], threads: int) -> dict[int, str]:
    """Peak by `id` of the run; 0 is repalign."""
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, array in zip(names(len(arrays)), arrays, strict=True):
            np.save(Path(folder) / f"{name}.npy", array)
        for run in runs:
            entry = run.contender
            say(f"memory: {entry.measure}, {entry.name} ({entry.kind})")
            peaks[id(run)] = f"{child(f'{entry.kind}:{entry.measure}:{entry.name}', folder, threads)[1]:.0f}"
        peaks[0] = f"**{child('ours::', folder, threads)[1]:.0f}**"
    return peaks


def ratios(runs: Sequence[Run], together: Sequence[float], floor: Floor) -> None:
    best: dict[str, dict[str, Run]] = {"peers": {}, "by hand": {}}
    for run in runs:
        group = best["by hand" if run.contender.kind == "cached" else "peers"]
        measure = run.contender.measure
        faster = measure not in group or statistics.median(run.seconds) < statistics.median(group[measure].seconds)
        if not run.once and faster:
            group[measure] = run
    summed = {
        kind: [sum(parts) for parts in zip(*(run.seconds for run in group.values()), strict=True)]
        for kind, group in best.items()
    }
    rows = [
        ["fastest peers summed / repalign", ratio(summed["peers"], together)],
        ["fastest peer's mean CCA / repalign, all five", ratio(best["peers"]["mean_cca"].seconds, together)],
        ["by hand summed / repalign", ratio(summed["by hand"], together)],
        ["repalign / floor", ratio(together, floor.seconds())],
        ["repalign / floor with the singular values to half the digits", ratio(together, floor.seconds(floor.squares))],
    ]
    table(["ratio", "median of the repeats"], rows)
    listed = "; ".join(f"{MEASURES[measure]}: {run.contender.name}" for measure, run in best["peers"].items())
    print(f"Fastest peers, {middle(summed['peers'])} s summed: {listed}.\n")


# From disk


def read_all(sources: Sequence[Any], rows: int = 8192) -> None:
    for start in range(0, sources[0].shape[0], rows):
        for source in sources:
            source[start : start + rows]


def bare_products(sources: Sequence[Any], rows: int = 8192) -> list[Array]:
    """All blocks i <= j, streamed: float32 products, float64 sums."""
    count = len(sources)
    pairs = list(itertools.combinations_with_replacement(range(count), 2))
    sums = [np.zeros((sources[i].shape[1], sources[j].shape[1])) for i, j in pairs]
    for start in range(0, sources[0].shape[0], rows):
        blocks = [source[start : start + rows] for source in sources]
        for position, (i, j) in enumerate(pairs):
            sums[position] += blocks[i].T @ blocks[j]
    return sums


DISK_TASKS: dict[str, Callable[[Sequence[Any]], Any]] = {
    "disk:reading alone": read_all,
    "disk:reading and bare products, float32": bare_products,
    "disk:repalign, all five measures": ours,
}


def from_disk(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "planted.h5"
        rows = 20_000
        with h5py.File(path, "w") as file:
            shape = (options.points, options.units)
            sets = [
                file.create_dataset(name, shape, "f4", chunks=(1024, shape[1]))
                for name in names(options.representations)
            ]
            for start in range(0, options.points, rows):
                size = min(rows, options.points - start)
                for target, block in zip(sets, planted(len(sets), size, options.units, start), strict=True):
                    target[start : start + size] = block
        results: dict[str, list[list[float]]] = {task: [] for task in DISK_TASKS}
        for _ in range(options.repeats):
            for task in DISK_TASKS:
                results[task].append(child(task, str(path), options.threads))
                say(f"{task}: {results[task][-1]}")
    heading(options)
    table(
        ["from one HDF5 file", "seconds", "peak MiB above the interpreter"],
        [
            [task.removeprefix("disk:"), middle([r[0] for r in runs]), middle([r[1] for r in runs], 0)]
            for task, runs in results.items()
        ],
    )
    _, floor, mine = ([seconds for seconds, _ in runs] for runs in results.values())
    print(f"repalign / reading and bare products: {ratio(mine, floor)}")
    print(f"The peers take whole arrays: {options.points * options.units * 4 / MIB:,.0f} MiB each before their copies.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--representations", type=int, help="20, or 2 from disk")
    parser.add_argument("--points", type=int, help="10,000, or 1,000,000 from disk")
    parser.add_argument("--units", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--limit", type=float, default=30.0, help="seconds: slower than this for all pairs is scaled up"
    )
    parser.add_argument("--few", type=int, default=10, help="pairs that are timed where the rest is scaled")
    parser.add_argument("--no-memory", action="store_true", help="leave out the peak memory")
    parser.add_argument("--from-disk", action="store_true", help="stream from a temporary HDF5 file")
    parser.add_argument("--serve", nargs=2, metavar=("TASK", "PATH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    wanted = {f"{library}_NUM_THREADS": str(options.threads) for library in ("OMP", "OPENBLAS", "MKL")}
    if any(os.environ.get(key) != value for key, value in wanted.items()):
        # the libraries read these once, as they load
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **wanted})
    torch.set_num_threads(options.threads)
    options.representations = options.representations or (2 if options.from_disk else 20)
    options.points = options.points or (1_000_000 if options.from_disk else 10_000)
    if options.serve:
        serve(*options.serve)
    elif options.from_disk:
        from_disk(options)
    else:
        in_memory(options)


if __name__ == "__main__":
    main()
