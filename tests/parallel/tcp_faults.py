#!/usr/bin/env python3
"""What only jobs without MPI have: supervisors, workers that are commands of their own, sockets between ranks."""
import os
import pathlib
import signal
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from process_facts import LISTENING, sockets
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
    ends = job.results()
    assert [code for code, _ in ends][1:] == [7, 7, 7], ends


def check_stopped_worker():
    job = Job(multinode(4, 1))
    job.nodes[2].send_signal(signal.SIGSTOP)
    took, text = wait_for_word(job, 0, "no answer from", 5.5)
    assert "rank 2 (pid %d" % job.nodes[2].pid in text, text
    job.nodes[2].send_signal(signal.SIGCONT)
    ends = job.results()
    assert [code for code, _ in ends] == [7, 7, 7, 7], ends
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
        job.nodes[0].wait(10)  # before its input ends, which would end it as well
        ends = job.results()
        assert [end[0] for end in ends] == [code], ends
        no_processes_left(ranks)
    job = Job(multinode(2, 1))
    job.nodes[0].send_signal(signal.SIGTERM)
    ends = job.results()
    assert [end[0] for end in ends] == [143, 143], ends


def check_sockets(name, nodes, arguments, connections, listeners):
    """docs/SECURITY.md lists them: in a job that has formed each rank listens for messages, and no one else does."""
    job = Job(nodes, *arguments)
    pids = [pid for i, node in enumerate(job.nodes) for pid in (node.pid, *job.rank_processes(i))]
    found = sockets(pids)
    assert all(table.startswith("tcp") for table, _, _ in found), (name, found)
    assert sum(state == LISTENING for _, _, state in found) == listeners, (name, found)
    # Both ends of each connection.
    assert len(found) == 2 * connections + listeners, (name, found)
    ends = job.results()
    assert [code for code, _ in ends] == [0] * len(nodes), (name, ends)


def check_all_sockets(folder):
    # Control and signs of life with the head, and a connection with each ring neighbour.
    check_sockets("one rank", [{}], (), 0, 0)
    check_sockets("supervisor", [{}], ("--tp", 4), 3 + 3 + 4, 4)
    check_sockets("multinode", multinode(4, 2), (), 3 + 3 + 4, 4)
    check_sockets("ring", ring(folder, 2), (), 1 + 1 + 2, 2)


with tempfile.TemporaryDirectory() as scratch:
    check_killed_worker(scratch)
    check_killed_head()
    check_stopped_worker()
    check_supervised_ranks()
    check_signals()
    check_all_sockets(scratch)
