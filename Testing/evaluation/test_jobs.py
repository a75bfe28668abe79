"""What a job's processes take, as looked at from outside."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ICHSegmentationLib.evaluation.jobs import Spent

HELD_MB = 200
FORKS = f"""
import os, sys
held = bytearray(b"x" * {HELD_MB * 10**6})
for _ in range(3):
    if os.fork() == 0:
        break
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what processes share")
def test_memory_that_several_processes_share_counts_once() -> None:
    with subprocess.Popen([sys.executable, "-c", FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        for _ in range(4):
            parent.stdout.readline()
        spent = Spent().looked_at(parent.pid, 1.0)
        assert parent.stdin is not None
        parent.stdin.close()
    assert HELD_MB < spent.memory_mb < 2 * HELD_MB
    assert spent.seconds == 1.0


def test_a_process_that_has_ended_is_no_failure() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    assert Spent(1.0, 2.0, 3.0).looked_at(ended.pid, 4.0) == Spent(4.0, 2.0, 3.0)
