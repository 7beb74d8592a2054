"""Run times from benchmarks, and pages of tables, text and settings."""

import math
import re

import pandas as pd
import pytest
import yaml

from repalign import reporting
from repalign.errors import StoreError

HEAD = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def benchmark(folder, name, seconds, cpu="1.5", memory="100.25"):
    path = folder / f"{name}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{HEAD}{seconds}\t0:00:01\t{memory}\t1\t1\t1\t1\t1\t1\t{cpu}\n", encoding="utf-8")


@pytest.fixture
def times(tmp_path):
    """Two studies that share a data set, a study of another, and two figures."""
    folder = tmp_path / "benchmarks"
    benchmark(folder, "prepare/digits", 1)
    benchmark(folder, "prepare/other", 2)
    benchmark(folder, "train/a/s/seeds-000-001", 4)
    benchmark(folder, "train/a/t/seeds-000-001", 8, cpu="NA", memory="NA")
    benchmark(folder, "train/a_b/s/seeds-000-001", 16)
    benchmark(folder, "score/a/s/seeds-000-001", 32)
    benchmark(folder, "plot/one", 64)
    benchmark(folder, "plot/a", 128, memory="300")
    return reporting.run_times(folder)


def test_every_job_is_read_with_its_stage(times):
    assert len(times) == 8
    row = times[times["job"] == "a/s/seeds-000-001"].iloc[-1]
    assert (row["stage"], row["seconds"], row["cpu_seconds"], row["memory"]) == ("train", 4, 1.5, 100.25)
    assert math.isnan(times.set_index("job").loc["a/t/seeds-000-001", "cpu_seconds"])


def test_sums_by_stage(times):
    made = reporting.by_stage(times)
    assert list(made["stage"]) == ["plot", "score", "train", "prepare", "all"]
    made = made.set_index("stage")
    assert made.loc["train", ["jobs", "seconds", "cpu_seconds", "longest"]].tolist() == [3, 28, 3, 16]
    assert made.loc["all", ["jobs", "seconds", "longest", "memory"]].tolist() == [8, 255, 128, 300]


def test_the_slowest_come_first(times, monkeypatch):
    monkeypatch.setattr(reporting, "LISTED", 3)
    assert list(reporting.slowest(times)["job"]) == ["a", "one", "a/s/seeds-000-001"]


def test_a_figure_counts_its_studies_data_sets_and_itself(times):
    figures = {"one": {"studies": ["a"], "datasets": ["digits"]}, "a": {"studies": ["a_b"], "datasets": []}}
    made = reporting.by_figure(times, figures, "smoke").set_index("figure")
    assert made.loc["one", ["jobs", "seconds", "seconds_drawing"]].tolist() == [5, 1 + 4 + 8 + 32 + 64, 64]
    assert made.loc["one", "cpu_seconds"] == 4 * 1.5  # one job has none
    assert made.loc["a", ["jobs", "seconds", "seconds_drawing"]].tolist() == [2, 16 + 128, 128]
    assert set(made["scale"]) == {"smoke"}


@pytest.mark.parametrize("text", ["", "a\tb\n1\t2\n", HEAD, HEAD.replace("\n", "\tx\n") + "one\n"])
def test_what_is_no_benchmark_is_named(tmp_path, text):
    (tmp_path / "bad.tsv").write_text(text, encoding="utf-8")
    with pytest.raises(StoreError, match=r"bad\.tsv: no benchmark"):
        reporting.run_times(tmp_path)


def test_a_table_shows_numbers_and_texts_as_they_are():
    rows = pd.DataFrame({"a_name": ["<b>", None], "value": [1234.5, 0.123456], "n": [3, 4]})
    made = reporting.table("One & two", rows)
    assert "<h2>One &amp; two</h2>" in made
    assert re.findall(r"<td.*?>(.*?)</td>", made) == ["&lt;b&gt;", "1,234", "3", "", "0.1235", "4"]
    assert "<th>a name</th>" in made


def test_markdown_has_tables_and_no_html_of_its_own():
    made = reporting.markdown("**Bold**\n\n| a | b |\n|---|---|\n| `c` | <script>x</script> |\n| d<br>e | f |\n")
    assert "<strong>Bold</strong>" in made
    assert "<td><code>c</code></td>" in made
    assert "<td>d<br>e</td>" in made
    assert "<script>" not in made


def test_settings_open_level_by_level_and_are_all_there():
    section = {"results": "r", "studies": {"a": {"settings": {"s": {"train": {"steps": 3}}}}, "b": {"x": [1, 2]}}}
    made = reporting.folded(section)
    assert re.findall(r"<summary>(.*?)</summary>", made) == ["studies", "a", "settings", "b"]
    inner = [yaml.safe_load(text) for text in re.findall(r"<pre>(.*?)</pre>", made, re.DOTALL)]
    assert inner == [{"results": "r"}, {"s": {"train": {"steps": 3}}}, {"x": [1, 2]}]


def test_a_page_needs_no_other_file():
    made = reporting.page("A <page>", ["<p>one</p>"])
    assert "<title>A &lt;page&gt;</title>" in made
    assert "<p>one</p>" in made
    assert re.findall(r"(?:src|href|url\()\s*=?", made) == []
