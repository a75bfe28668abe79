"""What becomes of the memory that this process frees."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ICHSegmentationLib.memory import glibc

CODE = """
import resource, sys
from concurrent.futures import ThreadPoolExecutor
import psutil, torch
from ICHSegmentationLib.memory import give_back_freed_memory, keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def held_mb():
    return psutil.Process().memory_info().rss / 1e6

if sys.argv[1] == "keep":
    keep_freed_memory()

def twice():
    before_mb = held_mb()
    torch.ones(50_000_000)
    kept_mb, before = held_mb() - before_mb, faults()
    torch.ones(49_900_000)  # its alignment asks for a little more room than its size
    again = faults() - before
    give_back_freed_memory()
    print(kept_mb, again, held_mb() - before_mb)

with ThreadPoolExecutor(1) as thread:  # commands run in one
    thread.submit(twice).result()
"""


def measured(how: str) -> tuple[float, float, float]:
    """200 MB that were freed: MB still held, pages that the next 200 MB ask of the kernel, MB held in the end."""
    said = subprocess.run([sys.executable, "-c", CODE, how], check=True, capture_output=True, text=True).stdout
    kept_mb, faults, in_the_end_mb = map(float, said.split())
    return kept_mb, faults, in_the_end_mb


@pytest.mark.skipif(glibc() is None, reason="the C library is not glibc")
def test_memory_that_is_freed_is_kept_for_the_next_tensor_and_can_be_given_back() -> None:
    kept_mb, faults, in_the_end_mb = measured("keep")
    assert kept_mb > 150
    assert in_the_end_mb < 100
    left_mb, faults_without, _ = measured("leave")
    assert left_mb < 100
    assert faults < faults_without / 10
