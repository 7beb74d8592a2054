"""Writes the gallery: pictures made smaller, their run times, and docs/gallery.md: gallery.py RESULTS [DOCS].

The words are in docs/gallery.yaml. A picture whose results are not there keeps its file and its recorded time.
"""

import csv
import os
import platform
import sys
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from repalign.store import replacing

WIDTH, COLOURS = 1100, 256
TIMES = ("picture", "scale", "machine", "jobs", "cpu_seconds")
HEAD = """# Gallery

Every figure beside what was published; what comes out here, and why it differs, is on the page of the figure.
`make gallery` writes this page. Times are CPU time, summed over all jobs that a figure needs from nothing, which other
work on the machine does not change; figures that share a study share its jobs, so that all of them together take less.
"""


def machine() -> str:
    """What ran the jobs, if they ran here."""
    return f"{os.cpu_count()} cores, {platform.machine()}"


def entries(words: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every picture with where it comes from; what is left out is filled in."""
    found = {}
    for section, pictures in words["sections"].items():
        for name, own in pictures.items():
            filled = {"figure": name, "results": words["results"], "options": "", "page": f"{name}.md", **own}
            found[name] = {"section": section, **filled, "command": words["command"].format(**filled)}
    return found


def copy_picture(source: Path, target: Path) -> None:
    """A png at most WIDTH pixels wide and with a palette, so that it stays small."""
    picture = Image.open(source).convert("RGB")
    height = round(picture.height * min(1.0, WIDTH / picture.width))
    picture = picture.resize((min(WIDTH, picture.width), height), Image.Resampling.LANCZOS)
    with replacing(target) as temporary:
        picture.quantize(COLOURS, dither=Image.Dither.NONE).save(temporary, format="png", optimize=True)


def read_times(path: Path) -> dict[str, dict[str, str]]:
    """The rows of a csv by their first column."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {next(iter(row.values())): row for row in csv.DictReader(file)}


def took(seconds: str) -> str:
    """A time in words."""
    value = round(float(seconds))
    return f"{value} s" if value < 120 else f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


def page(words: dict[str, Any], times: dict[str, dict[str, str]]) -> str:
    """The gallery as Markdown."""
    lines, section = [HEAD], ""
    for name, one in entries(words).items():
        if one["section"] != section:
            section = one["section"]
            lines.append(f"## {section}\n")
        measured = times.get(name)
        scale = measured["scale"] if measured else one.get("scale", "laptop")
        time = f"{took(measured['cpu_seconds'])} ({measured['jobs']} jobs; {measured['machine']})" if measured else ""
        lines += [
            f"### {one['title']}\n",
            "| | |\n|---|---|",
            f"| ![{one['title']}](gallery/{name}.png) | **Published:** {one['published']}"
            f"<br><br>[What comes out here]({one['page']}) |\n",
            f"{scale.capitalize()} scale. CPU time: {time or 'not recorded'}.\n",
            f"    {one['command']}\n",
        ]
    return "\n".join(lines)


def write(results: Path, docs: Path) -> None:
    """Copies the pictures of `results` and of the folders below it that the words name, and writes times and page."""
    words = yaml.safe_load((docs / "gallery.yaml").read_text(encoding="utf-8"))
    times = read_times(docs / "gallery.csv")
    for name, one in entries(words).items():
        folder = results / Path(one["results"]).relative_to(words["results"])
        source = folder / "figures" / f"{one['figure']}.png"
        if source.is_file():
            copy_picture(source, docs / "gallery" / f"{name}.png")
            print(docs / "gallery" / f"{name}.png")
        if made := read_times(folder / "report/figures.csv").get(one["figure"]):
            seconds = f"{float(made['cpu_seconds']):.0f}"
            row = (name, made["scale"], machine(), made["jobs"], seconds)
            times[name] = dict(zip(TIMES, row, strict=True))
    with replacing(docs / "gallery.csv") as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, TIMES, lineterminator="\n")
        writer.writeheader()
        writer.writerows(times[name] for name in sorted(times))
    (docs / "gallery.md").write_text(page(words, times), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "docs"))
