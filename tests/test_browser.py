"""The report and the site in a real browser. The default run leaves these out; make test-browser runs them."""

import csv
import json
import re
from pathlib import Path

import pytest
import yaml
from browser import Browser, lacking
from conftest import SMOKE
from pipeline import ROOT, copy_project, snakemake, write_yaml

pytestmark = pytest.mark.browser
FIGURES = {
    "roeder2021_fig2_digits": "Roeder, Metz, Kingma 2021",
    "vanrossem2024_depth_width": "van Rossem, Saxe 2024",
    "alignment_heatmap": "Alignment",
}
STUDIES = {"digits", "digits_models", "depth", "width"}
PADDING = 12  # pixels at the end of a row, which may be out of sight
R = "results/smoke"
SITE = ROOT / "site"
CLICK = "(() => {{ const found = [...document.querySelectorAll({where!r})].find(one => {test}); found.click(); }})()"


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    why = lacking()
    if why:
        pytest.skip(why)
    made = Browser(tmp_path_factory.mktemp("browser"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def made(tmp_path_factory, browser):
    """A project with one figure of each category, and its report."""
    folder = copy_project(tmp_path_factory.mktemp("report") / "project")
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    # Of the digits one setting instead of five.
    none = dict.fromkeys(("n_train", "width", "output_dim"))
    one = {"settings": {"teacher": None}, "sweeps": none}
    drawn = {"panels": ["real"], "sweeps": none}
    write_yaml(
        folder / "overlay.yaml",
        {
            "studies": {name: None for name in config["studies"] if name not in STUDIES} | {"digits": one},
            "figures": {name: None for name in config["figures"] if name not in FIGURES}
            | {"roeder2021_fig2_digits": drawn},
        },
    )
    overlays = [SMOKE, "overlay.yaml"]
    snakemake(folder, "report_pages", overlays=overlays)
    style = ["--report-stylesheet", "workflow/report/style.css"]
    with pytest.MonkeyPatch.context() as environment:  # what asks for the network fails
        for scheme in ("http", "https"):
            environment.setenv(f"{scheme}_proxy", "http://127.0.0.1:9")
        snakemake(folder, "report_pages", "--report", f"{R}/report.html", *style, overlays=overlays)
    return folder


def words(text: str) -> str:
    """What of a text is the same in a caption's template language and in the browser."""
    return re.sub(r"\W+", "", text)


class Report:
    """What a reader does with the report: opens it, goes to a category, opens its entries."""

    def __init__(self, browser: Browser, path: Path) -> None:
        self.browser = browser
        browser.problems.clear()
        browser.open(path)
        browser.wait("document.querySelectorAll('nav li').length > 3")
        self.results = browser.run("results")
        self.categories = browser.run("categories")

    def entries(self, category: str) -> list[str]:
        return [path for paths in self.categories[category].values() for path in paths]

    def go_to(self, category: str) -> None:
        self.browser.run("app.setView({navbarMode: 'menu'})")
        named = f"one.textContent.trim() === {json.dumps(category)}"
        self.browser.wait(f"[...document.querySelectorAll('nav li a')].some(one => {named})")
        self.browser.run(CLICK.format(where="nav li a", test=named))
        self.browser.wait("document.querySelector('nav table tbody')")

    def choose(self, value: str) -> None:
        """One side of the switch between picture and table."""
        self.browser.run(CLICK.format(where="nav fieldset input", test=f"one.value === {value!r}"))

    def row(self, path: str) -> str:
        """The row of an entry, as JavaScript."""
        label = next(iter(self.results[path]["labels"].values()))
        return (
            "[...document.querySelectorAll('nav tbody tr')]"
            f".find(one => one.cells[0].textContent.trim() === {json.dumps(label)})"
        )

    def open(self, path: str) -> None:
        self.browser.run(f"{self.row(path)}.querySelectorAll('a')[0].click()")

    def explain(self, path: str) -> str:
        """The text of an entry's own panel."""
        self.browser.run(f"{self.row(path)}.querySelectorAll('a')[1].click()")
        self.browser.wait("app.state.navbarMode === 'resultinfo'")
        return self.browser.run("document.querySelector('nav').textContent")

    def check_nothing_is_cut_off(self) -> None:
        """Neither the page nor its panel is wider than what it has; a long panel may be scrolled down."""
        for part in ("document.documentElement", "document.querySelector('nav')", "document.querySelector('#app')"):
            wide, room = self.browser.run(f"[{part}.scrollWidth, {part}.clientWidth]")
            assert wide <= room + PADDING, part


def check_pictures(report: Report, captions: Path) -> list[str]:
    """Every picture of every category: seen whole, with its caption beside it. Their names."""
    seen = []
    for category in report.categories:
        for path in report.entries(category):
            if not path.endswith(".png"):
                continue
            name = Path(path).stem
            report.go_to(category)
            if report.browser.run("!!document.querySelector('nav fieldset')"):
                report.choose("picture")
            report.open(path)
            image = "document.querySelector('img:not(nav img)')"
            report.browser.wait(f"{image} && {image}.complete && {image}.src === results[{path!r}].data_uri")
            box = f"{image}.getBoundingClientRect()"
            room = f"(r => [r.left, r.top, innerWidth - r.right, innerHeight - r.bottom, r.width, r.height])({box})"
            shown = report.browser.run(f"[{image}.naturalWidth, ...{room}]")
            assert shown[0] > 100, f"{name}: no picture"
            assert min(shown[1:5]) >= 0, f"{name}: cut off"
            assert min(shown[5:]) > 150, f"{name}: too small to read"
            report.check_nothing_is_cut_off()
            text = report.explain(path)
            assert words((captions / f"{name}.rst").read_text(encoding="utf-8")) in words(text), f"{name}: caption"
            assert report.results[path]["labels"]["figure"] == name
            report.check_nothing_is_cut_off()
            seen.append(name)
    assert report.browser.problems == []
    return seen


def test_every_picture_is_seen_whole_with_its_caption_in_its_category(made, browser):
    report = Report(browser, made / R / "report.html")
    found = {Path(path).stem: category for category in report.categories for path in report.entries(category)}
    assert found.items() >= FIGURES.items()
    assert sorted(check_pictures(report, made / R / "figures")) == sorted(FIGURES)


def test_every_table_is_in_the_report_and_is_saved(made, browser):
    report = Report(browser, made / R / "report.html")
    tables = [*made.glob(f"{R}/figures/*.csv"), *made.glob(f"{R}/scores/*/summary.csv")]
    tables += [*made.glob(f"{R}/scores/*/runs.csv"), *made.glob(f"{R}/dynamics/*/fits.csv")]
    assert {path for path in report.results if path.endswith(".csv")} == {
        str(path.relative_to(made)) for path in tables
    }
    assert len(tables) == 3 + 2 * 2 + 2
    for path in tables:
        fetched = browser.run(f"fetch(results[{str(path.relative_to(made))!r}].data_uri).then(one => one.text())")
        assert fetched == path.read_text(encoding="utf-8")
    report.go_to("Studies")
    report.check_nothing_is_cut_off()
    assert browser.run("document.querySelector('nav tbody a[download]').download") == "fits.csv"


def test_the_front_page_opens_the_pages(made, browser):
    report = Report(browser, made / R / "report.html")
    text = browser.run("document.querySelector('.prose').textContent")
    assert "smoke scale" in text
    named = set(report.categories) - {"Agreement with the papers"}  # whose one page is named instead
    assert {category for category in report.categories if category in text} == named
    for page in ("The scorecard", "Run times", "The configuration as it was resolved"):
        report.browser.run(CLICK.format(where=".prose a", test=f"one.textContent === {page!r}"))
        path = next(path for path, one in report.results.items() if one["labels"].get("page") == page)
        browser.wait(f"document.querySelector('iframe')?.src === results[{path!r}].data_uri")
        report.browser.run("app.setView({content: 'rulegraph'})")
        browser.wait("document.querySelector('.prose a')")
    assert browser.problems == []


def test_the_page_of_run_times_names_every_stage(made, browser):
    browser.problems.clear()
    browser.open(made / R / "report/run_times.html")
    assert browser.run("document.querySelectorAll('table').length") == 3
    cells = browser.run("[...document.querySelectorAll('table')[0].rows].map(row => row.cells[0].textContent)")
    stages = {path.name for path in (made / R / "benchmarks").iterdir() if path.is_dir()} - {"report"}
    assert set(cells[1:]) >= stages | {"all"}
    with (made / R / "report/stages.csv").open(encoding="utf-8") as file:
        rows = {row["stage"]: row for row in csv.DictReader(file)}
    for stage in stages:
        assert int(rows[stage]["jobs"]) == len([*(made / R / "benchmarks" / stage).rglob("*.tsv")])
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    assert browser.problems == []


def test_the_page_of_the_configuration_holds_what_was_resolved(made, browser):
    browser.open(made / R / "report/config.html")
    opened = "[...document.querySelectorAll('details')].map(one => { one.open = true; return one.innerText; })"
    text = "".join(browser.run(opened))
    resolved = yaml.safe_load((made / R / "report/config.yaml").read_text(encoding="utf-8"))
    assert set(resolved["studies"]) == STUDIES
    assert resolved["scale"] == "smoke"
    setting = resolved["studies"]["digits_models"]["settings"]["narrow"]
    assert setting["train"]["encoder"]["width"] == 16
    assert setting["train"]["steps"] == 60
    assert "optimiser" in setting["train"]  # a default
    assert "narrow" in text
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")


def test_a_problem_in_a_page_is_noticed(browser, tmp_path):
    """The checks above say nothing if this fails."""
    browser.problems.clear()
    page = tmp_path / "page.html"
    page.write_text(
        "<img src='https://example.org/a.png'><script>console.error('one'); setTimeout(() => none(), 0)</script>",
        encoding="utf-8",
    )
    browser.open(page)
    browser.wait("new Promise(done => setTimeout(() => done(true), 300))")
    kinds = {problem.partition(":")[0] for problem in browser.problems}
    assert kinds >= {"request", "console", "exception"}
    browser.problems.clear()


# --- the site -------------------------------------------------------------------------------------------------------


@pytest.fixture
def narrow(browser):
    """The page as wide as a telephone."""
    browser.size(420, 900)
    yield
    browser.size()


@pytest.fixture
def site(browser):
    if not (SITE / "index.html").is_file():
        pytest.skip("the site is not built; make docs builds it")
    browser.problems.clear()
    return SITE


def test_no_page_of_the_site_asks_for_the_network_or_is_cut_off(site, browser):
    pages = sorted({*site.glob("*.html")} - {site / "404.html"})  # a server's own
    assert len(pages) > 25
    for page in pages:
        browser.open(page)
        assert browser.run("document.documentElement.scrollWidth <= innerWidth"), page.name
        broken = "[...document.images].filter(one => !(one.complete && one.naturalWidth)).map(one => one.src)"
        assert browser.run(broken) == [], page.name
        assert browser.problems == [], page.name


def test_no_page_of_the_site_is_wider_than_a_telephone(site, browser, narrow):
    wide = {}
    for page in site.glob("*.html"):
        browser.open(page)
        wide[page.name] = browser.run("document.documentElement.scrollWidth")
    assert {name: width for name, width in wide.items() if width > 420} == {}


def test_formulas_are_rendered(site, browser):
    browser.open(site / "vanrossem2024_theory.html")
    assert browser.run("document.querySelectorAll('math').length") > 50
    text = browser.run("document.querySelector('article').innerText")
    assert "$`" not in text
    assert "FORMULA" not in text
    assert [
        found
        for found in browser.run("[...document.querySelectorAll('math')].map(one => one.textContent)")
        if "&" in found or "\\" in found
    ] == []
    heights = "[...document.querySelectorAll('math')].map(one => one.getBoundingClientRect().height)"
    assert min(browser.run(heights)) > 5


def test_the_search_finds_a_word_from_a_file(site, browser):
    browser.open(site / "index.html")
    browser.run("document.querySelector('[data-md-component=search-query]').focus()")
    browser.call("Input.insertText", text="identifiability")
    browser.wait("document.querySelectorAll('.md-search-result__item').length > 0")
    assert browser.problems == []
