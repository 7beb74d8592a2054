"""What mkdocs needs beside the pages of docs: README and others as pages, links of the repository, mathematics.

mkdocs calls on_files, on_page_markdown and on_page_content by their names (mkdocs.yml, hooks).
"""

import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
COPIED = ("CITATION.cff",)
LINK = re.compile(r"\]\(((?!\w+:)[^)#\s]+)(#[^)\s]*)?\)")
MATHS = re.compile(r"```math\n(?P<block>.*?)```|\$`(?P<inline>.*?)`\$", re.DOTALL)
made: dict[str, str] = {}  # MathML by the word that stands for it until the page is HTML


def on_files(files: Files, config: Any) -> Files:
    """Adds the repository's own pages, under the names that the site has for them."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    for name in COPIED:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def repository_link(target: str, from_root: bool) -> str:
    """A link within the repository as one within the site; one that is in both stays as it is."""
    if from_root:
        target = PAGES.get(target, target).removeprefix("docs/")
    return PAGES.get(target.removeprefix("../"), target)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links as the site has them; a word in the place of every formula."""
    from_root = page.file.src_uri in PAGES.values()
    markdown = LINK.sub(lambda found: f"]({repository_link(found[1], from_root)}{found[2] or ''})", markdown)

    def keep(found: re.Match[str]) -> str:
        block = found["block"] is not None
        word = f"FORMULA{len(made):05d}END"
        formula = " ".join((found["block"] or found["inline"]).split())
        # The converter knows the one environment and GitHub the other.
        formula = formula.replace("{aligned}", "{align*}")
        made[word] = convert(formula, "block" if block else "inline")
        return f"\n{word}\n" if block else word

    return MATHS.sub(keep, markdown)


def on_page_content(html: str, **_: Any) -> str:
    """The formulas in their places."""
    return re.sub(r"FORMULA\d{5}END", lambda found: made[found[0]], html)
