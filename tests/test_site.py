"""The gallery and the site: the page is what its data say, and every page of docs has its place."""

import re
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
sys.path.insert(0, str(ROOT / "scripts"))

import gallery  # noqa: E402

WORDS = yaml.safe_load((DOCS / "gallery.yaml").read_text(encoding="utf-8"))
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
# Pages of the repository that the site has under names of its own (scripts/site_hooks.py).
FROM_ROOT = {"index.md", "contributing.md", "changelog.md"}


class Loader(yaml.SafeLoader):
    """Reads mkdocs.yml, whose slugs are a Python function, without calling it."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)
SITE = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)


def leaves(node) -> list[str]:
    """All pages of a navigation."""
    if isinstance(node, str):
        return [node]
    return [page for part in (node.values() if isinstance(node, dict) else node) for page in leaves(part)]


# --- gallery --------------------------------------------------------------------------------------------------------


def test_the_page_is_what_its_data_say() -> None:
    """make gallery writes it."""
    made = gallery.page(WORDS, gallery.read_times(DOCS / "gallery.csv"))
    assert (DOCS / "gallery.md").read_text(encoding="utf-8") == made


def test_every_figure_of_the_configuration_is_in_the_gallery() -> None:
    assert CONFIG["figures"].keys() <= gallery.entries(WORDS).keys()


def test_every_entry_has_its_picture_and_every_picture_its_entry() -> None:
    assert {path.stem for path in (DOCS / "gallery").glob("*.png")} == gallery.entries(WORDS).keys()


@pytest.mark.parametrize("name", gallery.entries(WORDS))
def test_an_entry_names_a_page_that_shows_its_picture(name: str) -> None:
    page = DOCS / gallery.entries(WORDS)[name]["page"]
    assert f"](gallery/{name}.png)" in page.read_text(encoding="utf-8")


def test_every_figure_at_laptop_scale_has_its_time() -> None:
    times = gallery.read_times(DOCS / "gallery.csv")
    assert {name for name, row in times.items() if row["scale"] == "laptop"} >= CONFIG["figures"].keys()
    assert all(int(row["jobs"]) > 0 and float(row["cpu_seconds"]) > 0 for row in times.values())


def test_a_gallery_is_made_from_results(tmp_path: Path) -> None:
    """Its picture smaller, its time new; what is not in the results stays as it was."""
    from PIL import Image

    docs, results = tmp_path / "docs", tmp_path / "results"
    (docs / "gallery").mkdir(parents=True)
    (results / "paper/figures").mkdir(parents=True)
    (results / "report").mkdir()
    words = {"results": "results", "command": "make {options}{results}/{figure}", "sections": {"One paper": {}}}
    one = {"title": "One", "published": "A line."}
    large = {**one, "title": "Large", "figure": "one", "results": "results/paper", "options": "-p ", "page": "one.md"}
    words["sections"]["One paper"] = {"one": one, "large": large}
    (docs / "gallery.yaml").write_text(yaml.safe_dump(words, sort_keys=False), encoding="utf-8")
    (docs / "gallery.csv").write_text(
        "picture,scale,machine,jobs,cpu_seconds\nlarge,paper,a cluster,7,9000\none,laptop,old,1,1\n", encoding="utf-8"
    )
    (results / "figures").mkdir()
    Image.new("RGB", (2200, 1000), (10, 200, 30)).save(results / "figures/one.png")
    (results / "report/figures.csv").write_text(
        "figure,studies,scale,jobs,seconds,cpu_seconds,seconds_drawing\none,a,laptop,12,999,130.4,3\nother,a,laptop,2,1,1,1\n",
        encoding="utf-8",
    )
    gallery.write(results, docs)
    assert [path.name for path in (docs / "gallery").iterdir()] == ["one.png"]
    assert Image.open(docs / "gallery/one.png").size == (1100, 500)
    text = (docs / "gallery.md").read_text(encoding="utf-8")
    assert f"Laptop scale. CPU time: 2 min (12 jobs; {gallery.machine()})." in text
    assert "Paper scale. CPU time: 2.5 h (7 jobs; a cluster)." in text
    assert "    make results/one\n" in text
    assert "    make -p results/paper/one\n" in text
    assert text == gallery.page(words, gallery.read_times(docs / "gallery.csv"))


# --- site -----------------------------------------------------------------------------------------------------------


def test_every_page_has_its_place_in_the_navigation() -> None:
    named = leaves(SITE["nav"])
    assert len(named) == len(set(named))
    assert set(named) == {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")} | FROM_ROOT


def test_the_readme_links_every_page_of_docs() -> None:
    linked = set(re.findall(r"\]\(docs/([\w-]+\.md)", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert linked == {path.name for path in DOCS.glob("*.md")}


def test_the_packages_of_the_site_are_pinned_as_declared() -> None:
    import tomllib

    lines = (DOCS / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line for line in lines if line and not line.startswith("#")}
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(declared["docs"]) <= pinned
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in pinned)


def test_the_site_asks_for_nothing_of_the_network() -> None:
    assert SITE["theme"]["font"] is False
    assert [name for name in SITE["extra"]["polyfills"] + SITE["extra_css"] if not (DOCS / name).is_file()] == []
