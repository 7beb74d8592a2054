"""Run times of a results folder, and small HTML pages of tables and settings for the report."""

import html
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from repalign.errors import StoreError

if TYPE_CHECKING:
    import pandas as pd

LISTED = 25  # of the slowest jobs
FOLDED = 3  # levels of the configuration that are opened one by one
STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; color: #1e293b; margin: 1.5rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 1.6rem; }
div { overflow-x: auto; } table { border-collapse: collapse; }
th, td { padding: 0.25rem 0.7rem; border-bottom: 1px solid #cbd5e1; text-align: left; vertical-align: top; }
th { border-bottom: 2px solid #64748b; } td.number { text-align: right; font-variant-numeric: tabular-nums; }
td { max-width: 34rem; overflow-wrap: break-word; }
details { margin-left: 1rem; } summary { cursor: pointer; }
pre { margin: 0 0 0 1rem; white-space: pre-wrap; overflow-wrap: anywhere; }
""".strip()


# --- run times ------------------------------------------------------------------------------------------------------


def run_times(folder: str | Path) -> "pd.DataFrame":
    """Every job's benchmark under `folder`: stage, job, seconds (wall clock), cpu_seconds, memory (peak, MB).

    The stage is the first part of a benchmark's path, the job the rest. Snakemake measures no CPU time or memory
    of jobs that end at once: they are missing values then. Raises StoreError where a file is no benchmark.
    """
    import pandas as pd

    folder = Path(folder)
    rows = []
    for path in sorted(folder.rglob("*.tsv")):
        stage, *job = path.relative_to(folder).with_suffix("").parts
        try:
            measured = pd.read_csv(path, sep="\t", na_values=["-"]).iloc[-1]
            seconds, cpu, memory = (float(measured[name]) for name in ("s", "cpu_time", "max_rss"))
        except (KeyError, IndexError, ValueError) as error:  # pandas says of an empty file that it is a ValueError
            raise StoreError(f"{path}: no benchmark of Snakemake ({error}); delete it") from None
        rows.append((stage, "/".join(job), seconds, cpu, memory))
    return pd.DataFrame(rows, columns=["stage", "job", "seconds", "cpu_seconds", "memory"])


def by_stage(times: "pd.DataFrame") -> "pd.DataFrame":
    """A row a stage, slowest first, and their total: jobs, seconds and cpu_seconds (sums), longest job, peak memory."""
    import pandas as pd

    grouped = times.groupby("stage")
    found = grouped.agg(jobs=("job", "size"), seconds=("seconds", "sum"), cpu_seconds=("cpu_seconds", "sum"))
    found["longest"], found["memory"] = grouped["seconds"].max(), grouped["memory"].max()
    found = found.sort_values("seconds", ascending=False).reset_index()
    sums = {name: found[name].sum() for name in ("jobs", "seconds", "cpu_seconds")}
    largest = {name: found[name].max() for name in ("longest", "memory")}
    return pd.concat([found, pd.DataFrame([{"stage": "all", **sums, **largest}])], ignore_index=True)


def slowest(times: "pd.DataFrame") -> "pd.DataFrame":
    """The jobs that took longest, at most `LISTED`."""
    return times.nlargest(LISTED, "seconds")


def by_figure(times: "pd.DataFrame", figures: Mapping[str, Mapping[str, Any]], scale: str) -> "pd.DataFrame":
    """What each figure takes from nothing: the jobs of its studies and data sets, and its own.

    figures: by name, `studies` and `datasets`. Jobs that figures share count for each of them, so that the sum of the
    table is more than all jobs together.
    """
    import pandas as pd

    first = times["job"].str.partition("/")[0]
    prepares, plots = times["stage"] == "prepare", times["stage"] == "plot"
    rows = []
    for name, made in figures.items():
        prepared = prepares & times["job"].isin(made["datasets"])
        drawn = plots & (times["job"] == name)
        own = prepared | drawn | (~prepares & ~plots & first.isin(made["studies"]))
        sums = times.loc[own, ["seconds", "cpu_seconds"]].sum()
        rows.append((name, ", ".join(made["studies"]), scale, int(own.sum()), *sums, times["seconds"][drawn].sum()))
    columns = ["figure", "studies", "scale", "jobs", "seconds", "cpu_seconds", "seconds_drawing"]
    return pd.DataFrame(rows, columns=columns)


# --- pages ----------------------------------------------------------------------------------------------------------


def page(title: str, parts: Iterable[str]) -> str:
    """A whole HTML page that needs no other file."""
    head = f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
    body = "\n".join(parts)
    return f"{head}\n<style>{STYLE}</style></head>\n<body><h1>{html.escape(title)}</h1>\n{body}\n</body></html>\n"


def table(heading: str, rows: "pd.DataFrame") -> str:
    """A table under its heading; numbers with four digits."""
    import pandas as pd

    numeric = [pd.api.types.is_numeric_dtype(kind) for kind in rows.dtypes]
    lines = ["".join(f"<th>{html.escape(str(name).replace('_', ' '))}</th>" for name in rows.columns)]
    for row in rows.itertuples(index=False):
        cells = [_cell(value, is_number) for value, is_number in zip(row, numeric, strict=True)]
        lines.append("".join(cells))
    made = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f"<h2>{html.escape(heading)}</h2>\n<div><table>\n{made}\n</table></div>"


def _cell(value: Any, is_number: bool) -> str:
    import pandas as pd

    if pd.isna(value):
        return "<td></td>"
    if not is_number:
        return f"<td>{html.escape(str(value))}</td>"
    return f'<td class="number">{value:,.0f}</td>' if abs(value) >= 1000 else f'<td class="number">{value:.4g}</td>'


def markdown(text: str) -> str:
    """Markdown with tables as HTML; HTML in it is shown as it is written, but for the <br> of a table's cells."""
    from markdown_it import MarkdownIt

    made: str = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    return f"<div>{made.replace('&lt;br&gt;', '<br>')}</div>"


def folded(section: Mapping[str, Any], depth: int = FOLDED) -> str:
    """A configuration as headings that open: sections of `depth` levels, and YAML below."""
    parts, plain = [], {}
    for key, value in section.items():
        if not isinstance(value, Mapping) or not value:
            plain[key] = value
            continue
        inner = folded(value, depth - 1) if depth > 1 else _yaml(value)
        parts.append(f"<details><summary>{html.escape(str(key))}</summary>{inner}</details>")
    return "\n".join([*([_yaml(plain)] if plain else []), *parts])


def _yaml(section: Mapping[str, Any]) -> str:
    return f"<pre>{html.escape(yaml.safe_dump(dict(section), sort_keys=False, allow_unicode=True, width=110))}</pre>"
