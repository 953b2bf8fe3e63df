#!/usr/bin/env python3
"""What only jobs without MPI have: supervisors, workers that are commands of their own, sockets between ranks."""
import os
import pathlib
import signal
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from tcp_jobs import multinode, ring
from waiting_job import Job, no_processes_left, wait_for_word


def check_killed_worker(folder):
    for name, nodes in (("multinode", multinode(4, 1)), ("ring", ring(folder, 4))):
        job = Job(nodes)
        job.nodes[1].kill()
        took, text = wait_for_word(job, 0, "died during", 1.0)
        assert "rank 1 (pid %d on host" % job.nodes[1].pid in text, text
        ends = job.results()
        assert [code for code, _ in ends] == [7, -9] + [7] * (len(nodes) - 2), ends
        print("%s, killed rank: verdict after %.3f s" % (name, took), flush=True)


def check_killed_head():
    job = Job(multinode(4, 1))
    job.nodes[0].kill()
    took, text = wait_for_word(job, 1, "died during", 1.0)
    assert "rank 0 (pid %d" % job.nodes[0].pid in text, text
    assert [code for code, _ in job.results()][1:] == [7, 7, 7]


def check_stopped_worker():
    job = Job(multinode(4, 1))
    job.nodes[2].send_signal(signal.SIGSTOP)
    took, text = wait_for_word(job, 0, "no answer from", 5.5)
    assert "rank 2 (pid %d" % job.nodes[2].pid in text, text
    job.nodes[2].send_signal(signal.SIGCONT)
    assert [code for code, _ in job.results()] == [7, 7, 7, 7]
    print("stopped rank: verdict after %.1f s" % took, flush=True)


def check_supervised_ranks():
    job = Job([{}], "--tp", 4)
    ranks = job.rank_processes()
    assert len(ranks) == 4
    os.kill(ranks[2], signal.SIGKILL)
    code, err = job.results()[0]
    assert code == 7 and "rank 2 (pid %d" % ranks[2] in err, (code, err)
    no_processes_left(ranks)
    # The supervisor's own death takes the ranks with it.
    job = Job([{}], "--tp", 2)
    ranks = job.rank_processes()
    job.nodes[0].kill()
    no_processes_left(ranks)
    job.results()


def check_signals():
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        job = Job([{}], "--tp", 2)
        ranks = job.rank_processes()
        job.nodes[0].send_signal(number)
        assert [end[0] for end in job.results()] == [code]
        no_processes_left(ranks)
    job = Job(multinode(2, 1))
    job.nodes[0].send_signal(signal.SIGTERM)
    assert [end[0] for end in job.results()] == [143, 143]


def check_idle_ranks(folder):
    job = Job(ring(folder, 2))
    before = cpu_seconds(job.nodes[1].pid)
    time.sleep(6)  # longer than --stall-timeout
    used = (cpu_seconds(job.nodes[1].pid) - before) / 6
    assert used < 0.02, "an idle rank uses %.1f%% of a core" % (100 * used)
    job.ask()
    listening = "0A"
    sockets = job.sockets()
    assert all(table.startswith("tcp") for table, _ in sockets), sockets
    assert not any(state == listening for _, state in sockets), "nothing listens once the job has formed: %s" % sockets
    # Both ends of control, pulse, and two ring connections.
    assert len(sockets) == 8, sockets
    job.nodes[0].stdin.close()
    assert [job.nodes[i].wait(10) for i in range(2)] == [0, 0]


def cpu_seconds(pid):
    fields = pathlib.Path("/proc/%d/stat" % pid).read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


with tempfile.TemporaryDirectory() as scratch:
    check_killed_worker(scratch)
    check_killed_head()
    check_stopped_worker()
    check_supervised_ranks()
    check_signals()
    check_idle_ranks(scratch)
