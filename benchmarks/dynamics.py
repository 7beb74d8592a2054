"""Fits and training of the effective theory's networks against the authors' procedure and a plain loop.

    .venv/bin/python benchmarks/dynamics.py [--repeats 5] [--epochs 500] [--images 60000]

Four comparisons, each in turn in one process, one thread; medians of `repeats`, and the median of the ratios:
- a fit of 6,000 recorded points (default, tanh, shallow) against 100 guesses by Radau, then BFGS with numerical
  gradients (the slow one runs once a network); also the ratio of the objectives, both by the exact trajectory;
- training of `default` with a record, against a loop of automatic differentiation without one, and how far their
  weights are apart at the end;
- on CUDA, 50 seeds of `default` together against one;
- an epoch of 784-200x4-10 in batches of 64, and the loss on test images, against a plain loop over a DataLoader, of
  pictures one by one (by torchvision's transforms where it is installed) and of prepared tensors one by one, and
  against its bare matrix products (two threads each).
"""

import argparse
import importlib
import importlib.util
import itertools
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from scipy.integrate import solve_ivp
from scipy.optimize import minimize
from torch import nn

from repalign import history
from repalign.datasets.problems import Problem, two_points
from repalign.models import families
from repalign.theory import effective, fitting
from repalign.theory.effective import Pair, Rates
from repalign.training import full_batch, regression

ROWS = {
    "default": ({"activation": "leaky_relu", "gain": 1.0, "depth": 20}, 5e-3, 11),
    "tanh": ({"activation": "tanh", "gain": 0.85, "depth": 20}, 1.25e-3, 11),
    "shallow": ({"activation": "leaky_relu", "gain": 0.35, "depth": 2}, 1e-2, 2),
}


def model_of(**changed) -> dict:
    return {
        "family": "plain",
        "activation": "leaky_relu",
        "gain": 1.0,
        "width": 500,
        "depth": 20,
        "dropout": 0.1,
    } | changed


def section_of(rate: float, epochs: int, device: str = "cpu", batch_size: int | None = None) -> dict:
    optimiser = {"kind": "sgd", "learning_rate": rate, "momentum": 0.0, "weight_decay": 0.0}
    return {
        "optimiser": optimiser,
        "epochs": epochs,
        "loss": "half_mse",
        "batch_size": batch_size,
        "stop_loss": None,
        "device": device,
    }


def seconds(call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def spread(ratios: list[float]) -> str:
    """Median, smallest and largest."""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def authors_fit(record: np.ndarray, pair: Pair) -> np.ndarray:
    """The rates by the authors' procedure: guesses with a fixed ratio, then BFGS on the rates themselves."""
    n = record.shape[1]
    t = np.linspace(0, n, n)

    def error(rates) -> float:
        with np.errstate(all="ignore"):
            flow = solve_ivp(
                lambda _, state: effective.derivative(state, pair, Rates(*rates)),
                (0, n),
                record[:, 0],
                method="Radau",
                t_eval=t,
            )
        return float(((flow.y - record) ** 2).sum()) if flow.y.shape == record.shape else 1e12

    ratio = record[0, -1] ** 2 / (pair.dx2 * pair.dy2)
    best = min(np.logspace(-6, 2, 100), key=lambda guess: error((guess * ratio, guess)))
    return minimize(error, (best * ratio, best)).x


def fits(repeats: int) -> None:
    ratios = []
    for name, (changed, rate, layer) in ROWS.items():
        problem = two_points(1.0, 0.5**0.5)
        (record,), _ = full_batch.train(model_of(**changed), section_of(rate, 6000), [problem], [0], [layer])
        run = history.Run(
            0, problem.pairs, problem.input_distances(), problem.output_distances(), np.array([layer]), record
        )
        seen, pair = run.trajectory(), Pair(*run.start())
        theirs: list[np.ndarray] = []
        slow = seconds(lambda seen=seen, pair=pair, theirs=theirs: theirs.append(authors_fit(seen, pair)))
        fast = statistics.median(seconds(lambda seen=seen: fitting.fit(seen, 1.0, 0.5)) for _ in range(repeats))
        found = fitting.fit(seen, 1.0, 0.5)
        # Negative rates, which BFGS may return, have no trajectory.
        rates = Rates(*np.maximum(theirs[0], 1e-12))
        official = float(((effective.trajectory(run.t, pair, rates) - seen) ** 2).sum())
        ratios.append(slow / fast)
        print(
            f"fit {name}: authors' procedure {slow:.2f} s, ours {1000 * fast:.1f} ms, ratio {slow / fast:.0f}; "
            f"objective ours / theirs {found.error / official:.5f}"
        )
    print(f"fit, median ratio: {statistics.median(ratios):.0f}")


def plain_loop(model: dict, rate: float, epochs: int) -> nn.Sequential:
    """The same network by automatic differentiation, without a record."""
    built = families.build(model, 1, 1, 0)
    assert isinstance(built, families.FullyConnected)
    maps = built.affine_maps()
    layers = [part for layer in maps[:-1] for part in (layer, nn.LeakyReLU())]
    network = nn.Sequential(*layers, maps[-1])
    optimiser = torch.optim.SGD(network.parameters(), lr=rate)
    problem = two_points(1.0, 0.5**0.5)
    x, y = torch.from_numpy(problem.x), torch.from_numpy(problem.y)
    for _ in range(epochs):
        optimiser.zero_grad()
        (0.5 * nn.functional.mse_loss(network(x), y)).backward()
        optimiser.step()
    return network


def training(repeats: int, epochs: int) -> None:
    model, problem = model_of(), two_points(1.0, 0.5**0.5)
    full_batch.train(model, section_of(5e-3, 2), [problem], [0], [11])  # compiles
    ours, plain, networks = [], [], []
    for _ in range(repeats):
        plain.append(seconds(lambda: networks.append(plain_loop(model, 5e-3, epochs))))
        ours.append(
            seconds(
                lambda: networks.append(
                    full_batch.train(model, section_of(5e-3, epochs), [problem], [0], [11])[1][0].affine_maps()
                )
            )
        )
    theirs = [layer for layer in networks[0] if isinstance(layer, nn.Linear)]
    largest = max(float(layer.weight.detach().abs().max()) for layer in theirs)
    apart = max(float((a.weight - b.weight).detach().abs().max()) for a, b in zip(theirs, networks[1], strict=True))
    ratio = spread([p / o for p, o in zip(plain, ours, strict=True)])
    print(
        f"training default: plain loop {1000 * statistics.median(plain) / epochs:.2f} ms an epoch, ours with record "
        f"{1000 * statistics.median(ours) / epochs:.2f} ms, ratio {ratio}; after {epochs} epochs weights differ by "
        f"at most {apart / largest:.1e} of the largest"
    )


def many_seeds(repeats: int, epochs: int) -> None:
    if not torch.cuda.is_available():
        print("many seeds: left out, there is no CUDA device")
        return
    problem = two_points(1.0, 0.5**0.5)

    def run(seeds: int) -> float:
        section = section_of(5e-3, epochs, "cuda")
        return seconds(lambda: full_batch.train(model_of(), section, [problem] * seeds, list(range(seeds)), [11]))

    run(1)
    ratio = spread([run(50) / run(1) for _ in range(repeats)])
    print(f"many seeds: 50 seeds take {ratio} times as long as one")


class Images(torch.utils.data.Dataset):
    """One picture at a time, made a standardised tensor by torchvision's transforms, or, without it, by their steps."""

    def __init__(self, pixels: np.ndarray, labels: np.ndarray) -> None:
        self.pixels, self.labels = pixels, labels
        self.mean, self.scale = torch.tensor([0.1307]).view(-1, 1, 1), torch.tensor([0.3081]).view(-1, 1, 1)
        self.transform = self.by_hand
        if importlib.util.find_spec("torchvision"):
            usual = importlib.import_module("torchvision.transforms")
            self.transform = usual.Compose([usual.ToTensor(), usual.Normalize((0.1307,), (0.3081,))])

    def __len__(self) -> int:
        return len(self.pixels)

    def by_hand(self, picture: Image.Image) -> torch.Tensor:
        x = torch.from_numpy(np.array(picture)).view(28, 28, 1).permute(2, 0, 1).contiguous().float().div(255)
        return x.sub_(self.mean).div_(self.scale)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.transform(Image.fromarray(self.pixels[place]))
        return x.flatten(), nn.functional.one_hot(torch.tensor(self.labels[place]), 10).float()


def batches(repeats: int, images: int) -> None:
    """Training and the loss on a sixth as many test images, once an epoch, as the authors' code does."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(images + images // 6, 28, 28), dtype=np.uint8)
    labels = rng.integers(10, size=len(pixels))
    x = ((pixels.reshape(len(pixels), -1) / np.float32(255) - 0.1307) / 0.3081).astype(np.float32)
    y = np.eye(10, dtype=np.float32)[labels]
    model, train, test = model_of(gain=0.5, width=200, depth=4), slice(images), slice(images, None)
    problem = Problem(x[train], y[train], np.array([[0, 1]]), probes=(x[:100], y[:100]), x_test=x[test], y_test=y[test])

    def tensors(part: slice) -> torch.utils.data.Dataset:
        return torch.utils.data.TensorDataset(torch.from_numpy(x[part]), torch.from_numpy(y[part]))

    def pictures(part: slice) -> torch.utils.data.Dataset:
        return Images(pixels[part], labels[part])

    def plain(make: Callable[[slice], torch.utils.data.Dataset]) -> None:
        network = families.build(model, 784, 10, 0)
        optimiser = torch.optim.SGD(network.parameters(), lr=3e-3)

        def loss_of(own_x: torch.Tensor, own_y: torch.Tensor) -> torch.Tensor:
            return 0.5 * nn.functional.mse_loss(network(own_x)[1], own_y)

        for own_x, own_y in torch.utils.data.DataLoader(make(train), batch_size=64, shuffle=True):
            optimiser.zero_grad()
            loss_of(own_x, own_y).backward()
            optimiser.step()
        with torch.no_grad():
            sum(float(loss_of(*batch)) for batch in torch.utils.data.DataLoader(make(test), batch_size=64))

    def ours() -> None:
        regression.train(model, section_of(3e-3, 1, batch_size=64), problem, 0, [3], [1])

    times = [(seconds(lambda: plain(pictures)), seconds(lambda: plain(tensors)), seconds(ours)) for _ in range(repeats)]
    slow, middle, fast = (statistics.median(column) for column in zip(*times, strict=True))
    made = "torchvision's transforms" if importlib.util.find_spec("torchvision") else "their steps by hand"
    print(
        f"batches: an epoch of {images:,} images: a loop over pictures ({made}) {slow:.1f} s, over tensors "
        f"{middle:.1f} s, ours {fast:.2f} s; ratios {spread([p / o for p, _, o in times])} and "
        f"{spread([t / o for _, t, o in times])}"
    )


def products(repeats: int, images: int) -> None:
    """The bare matrix products of that epoch, which no training with these batches can do without."""
    sizes = [784, 200, 200, 200, 200, 10]
    weights = [torch.randn(b, a) for a, b in itertools.pairwise(sizes)]
    inputs, deltas = [torch.randn(64, a) for a in sizes[:-1]], [torch.randn(64, b) for b in sizes[1:]]

    def epoch() -> None:
        for _ in range(images // 64):
            for layer, weight in enumerate(weights):
                torch.mm(inputs[layer], weight.T)
                torch.mm(deltas[layer].T, inputs[layer])
                if layer:
                    torch.mm(deltas[layer], weight)

    print(f"batches: the matrix products alone {statistics.median(seconds(epoch) for _ in range(repeats)):.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {"repeats": 5, "epochs": 500, "images": 60000}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--only-batches", action="store_true", help="the last comparison alone")
    options = parser.parse_args()
    if not options.only_batches:
        torch.set_num_threads(1)
        fits(options.repeats)
        training(options.repeats, options.epochs)
        many_seeds(options.repeats, options.epochs)
    torch.set_num_threads(2)
    batches(options.repeats, options.images)
    products(options.repeats, options.images)


if __name__ == "__main__":
    main()
