"""A SLURM of one node on loopback, started and stopped by the tests; all of its state is in one folder."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

LINK = Path("/etc/slurm/slurm.conf")  # the plugin's inner srun does not know SLURM_CONF, and looks here
SOCKET = Path("/run/mysqld/mysqld.sock")  # where slurmdbd looks for the database
NEEDED = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "scancel", "slurmdbd", "mariadbd", "mariadb-install-db")


def lacking() -> str:
    """Why no node can be started here; empty where one can."""
    if os.geteuid() != 0:
        return "a SLURM of one node has to be started as root"
    missing = [name for name in NEEDED if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None]
    if missing:
        return f"not installed: {', '.join(missing)} (make slurm)"
    taken = [path for path in (LINK, SOCKET) if os.path.lexists(path)]
    return f"this machine has a SLURM or database of its own: {taken[0]} is there" if taken else ""


class Node:
    """One node with as many cores as the machine and one pretended GPU."""

    def __init__(self, folder: Path, accounting: bool) -> None:
        self.folder, self.accounting, self.host = folder, accounting, socket.gethostname().split(".")[0]
        self.started: dict[str, subprocess.Popen[bytes]] = {}
        # Daemons look for gres.conf and slurmdbd.conf beside slurm.conf.
        self.env = os.environ | {
            "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
            "SLURM_CONF": str(folder / "slurm.conf"),
        }
        self.munge = folder / "munge.socket"

    def start(self) -> None:
        """Ready to take jobs when it returns."""
        for name in ("controller", "node", "log"):
            (self.folder / name).mkdir(parents=True)
        # A GPU is a character device.
        (self.folder / "gres.conf").write_text(f"NodeName={self.host} Name=gpu File=/dev/null\n")
        self._write_conf()
        LINK.parent.mkdir(parents=True, exist_ok=True)
        LINK.symlink_to(self.folder / "slurm.conf")
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        self.folder.chmod(0o755)
        self._run(
            "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={self.munge}",
            f"--pid-file={self.folder}/munged.pid", f"--log-file={self.folder}/log/munged.log",
            f"--seed-file={self.folder}/munge.seed",
        )  # fmt: skip
        self._wait("munge", lambda: self.answers("munge", "-n", "-S", str(self.munge)))
        if self.accounting:
            self._start_accounting()
        self.start_controller()
        self._run("slurmd", "-D", "-N", self.host)
        self._wait("the node", lambda: "idle" in self.ask("sinfo", "-h", "-o", "%T"))

    def start_controller(self) -> None:
        """The controller, which takes up what it knew."""
        self._run("slurmctld", "-D")
        self._wait("slurmctld", lambda: self.answers("scontrol", "ping") and "UP" in self.ask("scontrol", "ping"))

    def start_database_daemon(self) -> None:
        """What sacct asks."""
        self._run("slurmdbd", "-D")
        self._wait("slurmdbd", lambda: self.answers("sacctmgr", "-n", "show", "cluster"))

    def kill(self, name: str) -> None:
        """A daemon, as if the machine that it runs on were gone."""
        gone = self.started.pop(name)
        gone.kill()
        gone.wait()

    def stop(self) -> None:
        """Ends what it started, and takes away the links."""
        for name in reversed(list(self.started)):
            process = self.started.pop(name)
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for link in (LINK, SOCKET):
            if link.is_symlink() and self.folder in link.readlink().parents:
                link.unlink()

    def ask(self, *command: str) -> str:
        """What a command of SLURM prints."""
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, check=False, timeout=60)
        return done.stdout

    def answers(self, *command: str) -> bool:
        """Whether a command succeeds."""
        return subprocess.run(command, env=self.env, capture_output=True, check=False, timeout=60).returncode == 0

    def _run(self, name: str, *arguments: str) -> None:
        with (self.folder / f"log/{name}.out").open("ab") as log:
            self.started[name] = subprocess.Popen(
                [name, *arguments], env=self.env, stdout=log, stderr=log, start_new_session=True
            )

    def _wait(self, what: str, ready: Callable[[], bool], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > end:
                logs = "\n".join(path.read_text(errors="replace")[-1500:] for path in self.folder.glob("log/*"))
                raise TimeoutError(f"{what} is not ready after {seconds} s\n{logs}")
            time.sleep(0.2)

    def _start_accounting(self) -> None:
        data = self.folder / "database"
        subprocess.run(
            ["mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={data}", "--skip-test-db",
             "--auth-root-authentication-method=normal"],
            env=self.env, check=True, capture_output=True,
        )  # fmt: skip
        own = self.folder / "database.sock"
        self._run(
            "mariadbd", "--no-defaults", "--user=root", f"--datadir={data}", "--skip-networking", f"--socket={own}",
            f"--pid-file={self.folder}/database.pid", "--innodb-lock-wait-timeout=900",
        )  # fmt: skip
        SOCKET.parent.mkdir(parents=True, exist_ok=True)
        SOCKET.symlink_to(own)
        self._wait("mariadb", lambda: self.answers("mariadb-admin", "--no-defaults", "-S", str(own), "ping"))
        conf = self.folder / "slurmdbd.conf"
        lines = [
            "AuthType=auth/munge", f"AuthInfo=socket={self.munge}", "DbdHost=localhost", "DbdAddr=127.0.0.1",
            "SlurmUser=root", f"LogFile={self.folder}/log/slurmdbd.log", f"PidFile={self.folder}/slurmdbd.pid",
            "StorageType=accounting_storage/mysql", "StorageHost=localhost", "StorageUser=root",
        ]  # fmt: skip
        conf.write_text("\n".join(lines) + "\n")
        conf.chmod(0o600)
        self.start_database_daemon()

    def _write_conf(self) -> None:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20 * 9 // 10
        accounting = (
            ["AccountingStorageType=accounting_storage/slurmdbd", "AccountingStorageHost=127.0.0.1",
             f"AccountingStoragePass={self.munge}", "AccountingStoreFlags=job_comment"]
            if self.accounting
            else ["AccountingStorageType=accounting_storage/none"]
        )  # fmt: skip
        lines = [
            "ClusterName=tests", f"SlurmctldHost={self.host}(127.0.0.1)", "SlurmUser=root", "SlurmdUser=root",
            "CommunicationParameters=NoInAddrAny,NoCtldInAddrAny",  # loopback alone
            "AuthType=auth/munge", "CryptoType=crypto/munge", f"AuthInfo=socket={self.munge}",
            f"StateSaveLocation={self.folder}/controller", f"SlurmdSpoolDir={self.folder}/node",
            f"SlurmctldPidFile={self.folder}/slurmctld.pid", f"SlurmdPidFile={self.folder}/slurmd.pid",
            f"SlurmctldLogFile={self.folder}/log/slurmctld.log", f"SlurmdLogFile={self.folder}/log/slurmd.log",
            "PlugStackConfig=/dev/null", "ProctrackType=proctrack/linuxproc", "TaskPlugin=task/none", "MpiDefault=none",
            # A job that takes more memory than it asked for is killed, without cgroups, within seconds.
            "JobAcctGatherType=jobacct_gather/linux", "JobAcctGatherFrequency=1", "JobAcctGatherParams=OverMemoryKill",
            "ReturnToService=2", "SelectType=select/cons_tres", "SelectTypeParameters=CR_Core_Memory",
            "SchedulerType=sched/backfill",
            "SchedulerParameters=sched_min_interval=0,batch_sched_delay=0,bf_interval=2",
            "MinJobAge=3600", "GresTypes=gpu", *accounting,
            f"NodeName={self.host} NodeAddr=127.0.0.1 CPUs={os.cpu_count()} RealMemory={memory} Gres=gpu:1",
            f"PartitionName=main Nodes={self.host} Default=YES MaxTime=INFINITE State=UP",
        ]  # fmt: skip
        (self.folder / "slurm.conf").write_text("\n".join(lines) + "\n")
