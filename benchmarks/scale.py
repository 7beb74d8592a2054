"""How planning, finding nothing to do, and one large study take with many runs.

    .venv/bin/python benchmarks/scale.py [--repeats 3] [--only NAME ...]
    .venv/bin/python benchmarks/scale.py --study      # really trains 1,000 networks and scores their 499,500 pairs
    .venv/bin/python benchmarks/scale.py --runs       # really trains 10,000 networks, 100 a job, and fits their rates

Every case is a configuration of its own in a temporary folder, run by this checkout's Snakefile. Wall-clock seconds,
processor seconds and peak memory of the whole command, medians of `repeats`:
- a dry run of everything, with the time until the graph is built;
- the same command when all is there. The results are then empty files that `snakemake --touch` has entered as finished
  with all their params, so that every comparison is the real one.
The case `bare` is a workflow of one rule without anything but a command: what Snakemake needs for as many jobs.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
SNAKEFILE = ROOT / "Snakefile"
# The executor of --touch sleeps a tenth of a second after every job.
TOUCH = (
    "import sys\n"
    "from snakemake.cli import main\n"
    "from snakemake.executors.touch import Executor\n"
    "Executor.SLEEPING_TIME = 0\n"
    "main(sys.argv[1:])\n"
)
BARE = """
rule all:
    input: [f"results/{number}.txt" for number in range(10000)]
rule one:
    output: "results/{number}.txt"
    shell: "touch {output}"
"""
TINY = {
    "data": {"dataset": "digits"},
    "train": {
        "encoder": {"kind": "mlp", "width": 4, "depth": 1},
        "decoder": {"kind": "label_table"},
        "steps": 20,
        "batch_size": 32,
    },
    "represent": {"steps": [20], "probes": 50},
    "score": {"measures": ["cka", "mean_cca"], "shuffles": 0, "resamples": 0, "folds": 2},
}


def layered(settings: int, count: int, block: int) -> dict:
    """A study of settings x count runs through all stages."""
    study = TINY | {
        "seeds": {"count": count, "block": block},
        "settings": {f"every-{k}": {"train": {"history_every": k}} for k in range(20, 20 + settings)},
    }
    return {"datasets": {"digits": {"kind": "digits"}}, "studies": {"many": study}}


def followed(settings: int, count: int, block: int, epochs: int = 6000) -> dict:
    """A study of dynamics of settings x count runs: training, then one job of fits."""
    study = {
        "kind": "dynamics",
        "model": {"width": 8, "depth": 2},
        "train": {"epochs": epochs},
        "record": {"layers": [1]},
        "seeds": {"count": count, "block": block},
        "settings": {f"gain-{k}": {"model": {"gain": 0.5 + k / 1000}} for k in range(settings)},
    }
    return {"studies": {"many": study}}


THOUSAND = layered(1, 1000, 50)
TEN_THOUSAND = followed(1, 10_000, 100, epochs=300)
CASES = {
    "bare": None,
    "1,000 runs": THOUSAND,
    "10,000 runs, 100 a job": layered(1, 10_000, 100),
    "10,000 runs, 5 a job": layered(500, 20, 5),
    "10,000 runs of dynamics, 1 a job": followed(100, 100, 1),
    "10,000 runs, 1 a job": layered(1000, 10, 1),
}


class Call:
    """One call of Snakemake: what it printed, its seconds, those until the graph was built, its peak memory."""

    def __init__(self, folder: Path, *arguments: str, cores: int = 2, touch: bool = False) -> None:
        program = ["-c", TOUCH] if touch else ["-m", "snakemake"]
        given = ["--snakefile", str(folder / "Snakefile" if (folder / "Snakefile").exists() else SNAKEFILE)]
        given += ["--workflow-profile", str(ROOT / "profiles/default"), "--cores", str(cores), *arguments]
        lines: list[tuple[float, str]] = []
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *program, *given],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        for line in process.stdout:
            lines.append((time.perf_counter() - start, line))
        _, status, usage = os.wait4(process.pid, 0)
        self.seconds = time.perf_counter() - start
        self.processor = usage.ru_utime + usage.ru_stime
        self.mebibytes = usage.ru_maxrss / 1024
        self.output = "".join(line for _, line in lines)
        if status:
            raise SystemExit(f"snakemake {' '.join(given)}\n{self.output[-4000:]}")
        built = ("Job stats:", "Nothing to be done")
        self.built = next((at for at, line in lines if line.startswith(built)), self.seconds)
        found = re.search(r"^total +(\d+)", self.output, re.MULTILINE)
        self.jobs = int(found[1]) if found else 0

    @property
    def idle(self) -> bool:
        return "Nothing to be done" in self.output


def row(name: str, calls: list[Call]) -> str:
    medians = [
        statistics.median(getattr(call, key) for call in calls)
        for key in ("built", "seconds", "processor", "mebibytes")
    ]
    return "| {} | {:,} | {:.1f} | {:.1f} | {:.1f} | {:.0f} |".format(name, calls[0].jobs, *medians)


def pretend(folder: Path, listed: str) -> None:
    """Everything that a dry run listed is there, as far as Snakemake can tell."""
    for line in re.findall(r"^    output: (.*)$", listed, re.MULTILINE):
        for name in line.split(", "):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
    Call(folder, "--touch", "--forceall", "--quiet", "all", cores=1000, touch=True)


def planned(name: str, config: dict | None, folder: Path, repeats: int) -> None:
    if config is None:
        (folder / "Snakefile").write_text(BARE, encoding="utf-8")
    else:
        (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    dry = [Call(folder, "--dry-run") for _ in range(repeats)]
    print(row(f"{name}: dry run", dry), flush=True)
    pretend(folder, dry[0].output)
    again = [Call(folder, "--dry-run") for _ in range(repeats)]
    if not all(call.idle for call in again):
        raise SystemExit(f"{name}: expected nothing to do\n{again[0].output[-4000:]}")
    print(row(f"{name}: nothing to do", again), flush=True)


def seconds_of_jobs(folder: Path) -> dict[str, tuple[int, float, float, float]]:
    """Number, summed seconds, longest seconds and most memory (MiB) of the jobs of each stage."""
    found = {}
    for stage in sorted(path.name for path in (folder / "results/benchmarks").iterdir()):
        files = (folder / "results/benchmarks" / stage).rglob("*.tsv")
        own = [file.read_text(encoding="utf-8").splitlines()[1].split("\t") for file in files]
        seconds = [float(values[0]) for values in own]
        memory = [float(values[2]) if values[2] not in ("-", "NA") else 0.0 for values in own]
        found[stage] = (len(own), sum(seconds), max(seconds), max(memory))
    return found


def studied(folder: Path, config: dict, cores: int) -> None:
    """One study for real: its stages, and what Snakemake itself takes."""
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    dry = Call(folder, "--dry-run")
    real = Call(folder, cores=cores)
    again = Call(folder, "--dry-run")
    stages = seconds_of_jobs(folder)
    print("| stage | jobs | s in all | longest job, s | most memory, MiB |\n|---|---|---|---|---|")
    for stage, (count, total, longest, memory) in stages.items():
        print(f"| {stage} | {count} | {total:.1f} | {longest:.1f} | {memory:.0f} |")
    own = sum(total for _, total, _, _ in stages.values())
    print(
        f"dry run {dry.seconds:.1f} s (graph {dry.built:.1f} s), real run {real.seconds:.1f} s on {cores} cores, its "
        f"{real.jobs} jobs {own:.1f} s in all; nothing to do: {again.idle}, {again.seconds:.1f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--study", action="store_true", help="the study of 1,000 networks for real, and nothing else")
    parser.add_argument("--runs", action="store_true", help="10,000 networks for real, and nothing else")
    given = parser.parse_args()
    if given.study or given.runs:
        with tempfile.TemporaryDirectory() as folder:
            studied(Path(folder), THOUSAND if given.study else TEN_THOUSAND, 1 if given.study else 2)
        return
    print("| case | jobs | graph built, s | in all, s | processor, s | peak MiB |\n|---|---|---|---|---|---|")
    for name in given.only:
        with tempfile.TemporaryDirectory() as folder:
            planned(name, CASES[name], Path(folder), given.repeats)


if __name__ == "__main__":
    main()
