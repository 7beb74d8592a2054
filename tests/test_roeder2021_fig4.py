"""Figure 4: averages over pairs of sizes, as the authors' notebook makes them and as they should be."""

import runpy
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from repalign.alignment import Spectrum

ROOT = Path(__file__).resolve().parents[1]
PLOT = runpy.run_path(str(ROOT / "scripts" / "plot_roeder2021_fig4.py"))
SIZES = ["s", "m", "l", "xl"]


def table(values, seeds=1):
    """Pairs of settings with one constant spectrum each, in either order, and their spectra."""
    rows, spectra = [], []
    for number, (pair, value) in enumerate(values.items()):
        first, second = pair if number % 2 else pair[::-1]
        for _ in range(seeds):
            rows.append({"setting_a": first, "setting_b": second, "spectrum": len(spectra)})
            spectra.append(Spectrum(np.full(3, value), np.full((3, 3), value / 10)))
    return pd.DataFrame(rows), spectra


def test_the_notebook_counts_one_pair_twice_and_one_not_at_all():
    values = {pair: 0.1 * (1 + number) for number, pair in enumerate(combinations(SIZES, 2))}
    found = PLOT["curves"](*table(values, seeds=2), SIZES)
    np.testing.assert_allclose(found["rho"], np.mean(list(values.values())))
    notebook = [values[pair] for pair in (("s", "m"), ("m", "l"), ("l", "xl"), ("s", "l"), ("m", "xl"), ("s", "l"))]
    np.testing.assert_allclose(found["notebook"], np.mean(notebook))
    np.testing.assert_allclose(found["null_high"], np.mean(list(values.values())) / 10)
    assert found["index"].tolist() == [0, 1, 2]


def test_other_than_four_sizes_have_no_notebook():
    found = PLOT["curves"](*table({("s", "m"): 0.5}), ["s", "m"])
    assert "notebook" not in found
    assert PLOT["curves"](*table({("s", "m"): 0.5}), ["l", "xl"]) is None


def test_pairs_without_a_spectrum_do_not_count():
    rows, spectra = table({("s", "m"): 0.5, ("s", "l"): 0.7})
    rows.loc[1, "spectrum"] = -1
    np.testing.assert_allclose(PLOT["curves"](rows, spectra, SIZES)["rho"], 0.5)


@pytest.mark.parametrize(
    ("components", "means"),
    [(16, [0.89, 0.81, 0.74, 0.64]), (64, [0.84, 0.75, 0.69, 0.63]), (256, [0.68, 0.66, 0.60, 0.55])],
)
def test_the_published_curves_have_the_published_means(components, means):
    published = pd.read_csv(ROOT / "workflow" / "reference" / "roeder2021_fig4.csv", comment="#")
    own = published[published["components"] == components].groupby("layer", sort=False)["rho"]
    assert own.size().unique().tolist() == [components]
    assert own.mean().tolist() == pytest.approx(means, abs=0.01)


def test_the_order_of_layers_is_told_as_it_is():
    def drawn(k, values):
        return [
            pd.DataFrame({"index": [0], "rho": [value], "layer": layer, "components": k, "trained": True})
            for layer, value in zip(("output", "last-4"), values, strict=True)
        ]

    longer = pd.DataFrame({"index": [0, 1], "rho": [0.9, 0.1], "layer": "output", "components": 2, "trained": True})
    other = pd.DataFrame({"index": [0], "rho": [0.8], "layer": "last-4", "components": 2, "trained": True})
    assert "last 0.90, last-4 0.80 (the later the layer the higher: yes)" in PLOT["order_holds"]([longer, other])
    words = PLOT["order_holds"]([*drawn(4, (0.9, 0.5)), *drawn(8, (0.5, 0.9))])
    assert "4 components: last 0.90, last-4 0.50 (the later the layer the higher: yes)" in words
    assert "8 components: last 0.50, last-4 0.90 (the later the layer the higher: no)" in words
