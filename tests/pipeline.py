"""Real Snakemake runs in a copy of the project."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("Snakefile", "config.yaml", "environment.yml", "workflow", "scripts", "src", "profiles")
JOB = re.compile(r"^(?:local)?rule (\w+):\n(.*?)(?=^(?:local)?rule |^Job stats:|\Z)", re.MULTILINE | re.DOTALL)


def copy_project(target: Path) -> Path:
    """What a run needs of the project, in a folder of its own."""
    target.mkdir(parents=True)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy2(source, target / name)
    return target


def command(*arguments: str | Path, overlays: list[str] | None = None) -> list[str]:
    configs = ["--configfile", *overlays] if overlays else []
    return [sys.executable, "-m", "snakemake", "--cores", "2", *map(str, arguments), *configs]


def snakemake(
    folder: Path, *arguments: str | Path, overlays: list[str] | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """One call of Snakemake in a copy; its output is in stdout."""
    done = subprocess.run(
        command(*arguments, overlays=overlays),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": ""},
    )
    if check:
        assert done.returncode == 0, done.stdout[-6000:]
    return done


def planned(folder: Path, *targets: str, overlays: list[str] | None = None) -> set[str]:
    """The jobs that Snakemake would run now, such as `train angular/teacher/seeds-000-001`."""
    output = snakemake(folder, "--dry-run", *targets, overlays=overlays).stdout
    jobs = set()
    # A reason may span lines, so a job's part goes on to the next rule.
    for rule, body in JOB.findall(output):
        found = re.search(r"^    wildcards: (.*)$", body, re.MULTILINE)
        values = [part.partition("=")[2] for part in found[1].split(", ")] if found else []
        if rule != "all":
            jobs.add(" ".join([rule, "/".join(values)]).strip())
    # The table of counts names `all` as well.
    listed = re.search(r"^total +(\d+)", output, re.MULTILINE)
    count = int(listed[1]) - bool(re.search(r"^all +1", output, re.MULTILINE)) if listed else 0
    assert len(jobs) == count, output[-3000:]
    return jobs


def write_yaml(path: Path, content: dict) -> None:
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def results(folder: Path, under: str = "results") -> dict[str, bytes]:
    """Every finished result file with its bytes; logs and run times are not results."""
    files = {}
    for path in sorted((folder / under).rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not path.name.startswith(".") and "/logs/" not in name and "/benchmarks/" not in name:
            files[name] = path.read_bytes()
    return files
