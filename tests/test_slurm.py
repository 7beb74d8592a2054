"""The profile for clusters on a SLURM of one node. The default run leaves these out; make test-slurm runs them."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from pipeline import ROOT, copy_project, snakemake
from slurm_node import Node, lacking

pytestmark = pytest.mark.slurm
SNAKEFILE = """
seconds = config.get("seconds", 45)

rule all:
    input: "greedy.txt", "gpu.txt"

rule greedy:
    output: "greedy.txt"
    resources: mem_mb=100
    shell: "{python} -c 'import time; x = bytearray(400 << 20); time.sleep(8)'; echo $SLURM_JOB_ID > {{output}}"

rule gpu:
    output: "gpu.txt"
    resources: gpu=1
    shell: "echo ${{{{CUDA_VISIBLE_DEVICES:-none}}}} > {{output}}"

rule slow:
    output: "slow.txt"
    shell: "touch begun.txt; sleep {{seconds}}; echo $SLURM_JOB_ID > {{output}}"
"""


@pytest.fixture(scope="module", params=["alone", "with_database"])
def node(request, tmp_path_factory):
    """A node without an accounting database, then one with it."""
    why = lacking()
    if why:
        pytest.fail(f"the tests of the cluster profile cannot run: {why}")
    made = Node(tmp_path_factory.mktemp(request.param) / "slurm", accounting=request.param == "with_database")
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def folder(tmp_path):
    """A working directory with a workflow of a few jobs."""
    (tmp_path / "Snakefile").write_text(SNAKEFILE.format(python=sys.executable), encoding="utf-8")
    return tmp_path


def command(node: Node, *arguments: str) -> list[str]:
    """Snakemake with the profile of the project; a test waits less for a job's start than a cluster does."""
    quick = ["--slurm-init-seconds-before-status-checks", "5"]
    return [sys.executable, "-m", "snakemake", "--profile", str(ROOT / "profiles/slurm"), *quick, *arguments]


def environment(node: Node) -> dict[str, str]:
    bin_folder = str(Path(sys.executable).parent)
    return node.env | {"PYTHONPATH": "", "PATH": f"{bin_folder}:{node.env['PATH']}"}


def run(node: Node, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(node, *arguments),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env=environment(node),
        timeout=900,
    )


def begun(node: Node, folder: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    """Snakemake in the background, as soon as its job runs."""
    with (folder / "run.log").open("wb") as log:
        process = subprocess.Popen(command(node, *arguments), cwd=folder, stdout=log, stderr=log, env=environment(node))
    end = time.monotonic() + 90
    while not (folder / "begun.txt").exists():
        assert process.poll() is None, (folder / "run.log").read_text()
        assert time.monotonic() < end, (folder / "run.log").read_text()
        time.sleep(0.5)
    return process


def test_a_job_out_of_memory_succeeds_with_more_and_one_with_a_gpu_gets_it(node, folder):
    polling = ["--slurm-status-command", "sacct"] if node.accounting else []
    done = run(node, folder, "--set-resources", "greedy:mem_mb=300*attempt", *polling)
    assert done.returncode == 0, done.stdout[-4000:]
    assert "Trying to restart job" in done.stdout
    assert (folder / "greedy.txt").is_file()
    assert (folder / "gpu.txt").read_text().strip() == "0"


def test_a_cancelled_job_is_reported_and_made_by_the_next_call(node, folder):
    if node.accounting:
        pytest.skip("once is enough: the profile asks squeue, with a database or without")
    process = begun(node, folder, "slow.txt", "--retries", "0")
    (job,) = node.ask("squeue", "-h", "-t", "RUNNING", "-o", "%A").split()
    assert node.answers("scancel", job)
    assert process.wait(200) != 0
    assert f"'{job}'" in (folder / "run.log").read_text()
    assert not (folder / "slow.txt").exists()
    done = run(node, folder, "slow.txt", "--config", "seconds=1")
    assert done.returncode == 0, done.stdout[-4000:]
    assert (folder / "slow.txt").read_text().strip() != job


def test_a_run_outlives_its_controller(node, folder):
    """Without a database the plugin may forget the job (docs/cluster.md); then the next call makes what is missing."""
    process = begun(node, folder, "slow.txt")
    time.sleep(8)  # what it knows of the job is on disk by then
    node.kill("slurmctld")
    assert not node.answers("squeue")
    time.sleep(25)
    node.start_controller()
    if not node.accounting:
        while node.ask("squeue", "-h"):
            time.sleep(1)
        process.kill()
        process.wait()
        assert run(node, folder, "--unlock").returncode == 0
        done = run(node, folder, "slow.txt")
        assert done.returncode == 0, done.stdout[-4000:]
    else:
        assert process.wait(300) == 0, (folder / "run.log").read_text()[-4000:]
    assert (folder / "slow.txt").is_file()


def test_a_run_outlives_its_accounting_database(node, folder):
    if not node.accounting:
        pytest.skip("there is no accounting database on this node")
    process = begun(node, folder, "slow.txt", "--slurm-status-command", "sacct")
    node.kill("slurmdbd")
    assert not node.answers("sacct")
    time.sleep(45)  # longer than the time between two checks, so one falls into it
    node.start_database_daemon()
    try:
        assert process.wait(120) == 0, (folder / "run.log").read_text()[-4000:]
    finally:
        process.kill()
        process.wait()
    assert (folder / "slow.txt").is_file()


def test_a_study_through_slurm_leaves_nothing_to_a_local_run(node, tmp_path):
    if node.accounting:
        pytest.skip("once is enough: without the accounting database")
    project = copy_project(tmp_path / "a project")
    smoke = "workflow/presets/smoke.yaml"
    figure = "results/smoke/figures/alignment_heatmap.pdf"
    done = run(node, project, figure, "--configfile", smoke)
    assert done.returncode == 0, done.stdout[-4000:]
    jobs = done.stdout.count("has been submitted with SLURM jobid")
    assert 0 < jobs < 12, f"{jobs} jobs of SLURM: short ones are not bundled"
    assert "Nothing to be done" in snakemake(project, "--dry-run", figure, overlays=[smoke]).stdout
