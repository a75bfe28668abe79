"""A whole lease of a lent GPU machine in one command, within a time budget, read downwards.

    python -m ICHSegmentationLib.training.job heads.npz --out OUT --work WORK --minutes 9 --members 0 1 2

measures the packed heads (`ich pack`), simulates cases on the device, trains each member in turn for its share of
the time, tests them together on heads none has seen, and leaves four files in OUT: `weights.safetensors` (all
members, float16), `runs.zip` (to resume in the next lease with --resume, or to unpack and bundle), `job.json` (what
was done, and the test) and `job.log`. They are written anew after every member: whoever ends the lease early loses
one member's minutes at most. Needs torch, e3nn, numpy and scipy only.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ICHSegmentationLib.errors import ICHError, InputError, require_at_least
from ICHSegmentationLib.memory import settle_memory
from ICHSegmentationLib.simulation.anatomy import Anatomy
from ICHSegmentationLib.simulation.case import EDITION
from ICHSegmentationLib.staging import write_json
from ICHSegmentationLib.training.cases import cases_of
from ICHSegmentationLib.training.checkpoint import CHECKPOINT
from ICHSegmentationLib.training.lease import Deadline, claim_run, pack_runs, pack_weights, unpack_runs
from ICHSegmentationLib.training.loop import Progress, Sitting
from ICHSegmentationLib.training.options import add_beginning
from ICHSegmentationLib.training.packing import LabelledHead, measured_heads, unpack_heads
from ICHSegmentationLib.training.pool import case_folder, claim, simulate_pool
from ICHSegmentationLib.training.sources import source_for, sources_of
from ICHSegmentationLib.training.train import TrainingConfig, chosen_config, train
from ICHSegmentationLib.training.trial import summary, tried

logger = logging.getLogger("job")

TEST_SEED = 2**20  # added to the simulation's seed for the cases to test on
RESERVE_SHARE = 0.12  # of the time, for the test and for writing
SECONDS_BETWEEN_LINES = 30.0


@dataclass(frozen=True)
class Job:
    """What to do in one lease; the same job resumed trains the same members on."""

    config: TrainingConfig
    members: tuple[int, ...]
    cases: int
    held_out: int  # heads, the last ones of the file
    test_cases: int
    simulation_seed: int
    minutes: float
    start: str  # run or bundle whose weights the members begin with; empty: random ones


def main(arguments: list[str] | None = None) -> int:
    settle_memory()
    options = parser().parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout), logging.FileHandler(options.out / "job.log")]
    logging.basicConfig(level=logging.INFO, format="%(relativeCreated)9.0f ms  %(message)s", handlers=handlers)
    try:
        run(job_of(options), options.heads, options.work, options.out, options.resume, torch.device(options.device))
    except ICHError as error:
        logger.error("%s", error)
        return error.exit_code
    except Exception:  # whatever it was, the log is all that comes home
        logger.exception("the job ended")
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ICHSegmentationLib.training.job", description=__doc__)
    parser.add_argument("heads", type=Path, help="file of `ich pack`")
    parser.add_argument("--out", type=Path, required=True, help="folder for the four files that come back")
    parser.add_argument("--work", type=Path, required=True, help="folder for heads, cases and runs")
    parser.add_argument("--minutes", type=float, required=True, help="for everything; end well before the lease does")
    parser.add_argument("--members", type=int, nargs="+", required=True, help="trained in turn, equally long")
    parser.add_argument("--resume", type=Path, help="runs.zip of an earlier lease")
    add_beginning(parser)
    parser.add_argument("--config", type=Path, help="JSON with more of train.TrainingConfig")
    parser.add_argument("--cases", type=int, default=600, help="to train on (default: 600)")
    parser.add_argument("--held-out", type=int, default=3, help="heads to test on (default: 3, the last ones)")
    parser.add_argument("--test-cases", type=int, default=50, help="default: 50")
    parser.add_argument("--simulation-seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser


def job_of(options: argparse.Namespace) -> Job:
    config = chosen_config(options.preset, options.config)
    config.check()
    require_at_least(1, {"--cases": options.cases, "--test-cases": options.test_cases, "--held-out": options.held_out})
    require_at_least(0, {"--members": min(options.members), "--simulation-seed": options.simulation_seed})
    if not options.minutes > 0:
        raise InputError(f"--minutes must be more than 0; found {options.minutes}.")
    start = ""
    if options.start is not None:
        start = str(options.start)
        config = dataclasses.replace(config, network=source_for(options.start, 0).network)
    return Job(
        config,
        tuple(dict.fromkeys(options.members)),
        options.cases,
        options.held_out,
        options.test_cases,
        options.simulation_seed,
        options.minutes,
        start,
    )


def run(job: Job, heads: Path, work: Path, out: Path, resume: Path | None, device: torch.device) -> None:
    """Does the job; what is in `work` already is not done again."""
    deadline = Deadline(job.minutes)
    if resume is not None:
        unpack_runs(resume, work / "runs")
    packed = unpack_heads(heads)
    if job.held_out >= len(packed):
        raise InputError(f"{heads} holds {len(packed)} heads; {job.held_out} held out leave none to train on.")
    origin = origin_of(job, packed)
    for folder in finished_runs(work):
        claim_run(folder, origin)
    pool, test_pool = simulated_pools(job, packed, work, device, deadline)
    finish_at_s = deadline.seconds * (1 - RESERVE_SHARE)
    done: dict[str, Any] = {"job": dataclasses.asdict(job), "machine": machine(device), "members": {}, "test": None}
    stopped = False
    for position, member in enumerate(job.members):
        share_s = (finish_at_s - deadline.elapsed_s) / (len(job.members) - position)
        if share_s <= 0 or stopped:
            logger.warning("no time for member %d", member)
            continue
        config, start = dataclasses.replace(job.config, member=member), None
        if job.start:
            source = source_for(Path(job.start), member)
            config = source.beginning(config)
            start = source.weights_for(config.network)
        folder = work / "runs" / f"member_{member}"
        sitting = Sitting(resume=True, minutes=share_s / 60, save_every_s=60, threads=2, on_step=Lines(member))
        claim_run(folder, origin)
        begun_s = deadline.elapsed_s
        trained = train(config, cases_of(pool, config.subset, config.seed, member), folder, device, sitting, start)
        stopped = trained.stopped_by_signal
        done["members"][str(member)] = {
            "step": trained.step,
            "score": trained.score,
            "seconds": deadline.elapsed_s - begun_s,
        }
        logger.info("member %d stands at step %d", member, trained.step)
        write_results(done, finished_runs(work), out)
    if not stopped:
        done["test"] = trial(finished_runs(work), test_pool, job, device, deadline)
    write_results(done, finished_runs(work), out)
    logger.info("done after %.0f of %.0f s", deadline.elapsed_s, deadline.seconds)


def simulated_pools(
    job: Job, packed: list[LabelledHead], work: Path, device: torch.device, deadline: Deadline
) -> tuple[list[Path], list[Path]]:
    """Cases to train on, and cases of other heads to test on."""
    files = measured_heads(packed, work / "anatomies", os.cpu_count() or 1)
    logger.info("%d heads measured after %.0f s", len(files), deadline.elapsed_s)
    parts = {
        "cases": (files[: -job.held_out], job.cases, job.simulation_seed),
        "test": (files[-job.held_out :], job.test_cases, job.simulation_seed + TEST_SEED),
    }
    pools = []
    for name, (chosen, count, seed) in parts.items():
        pool = work / name
        claim(pool, {"simulation seed": seed, "simulator edition": EDITION, "heads": [file.stem for file in chosen]})
        anatomies = [Anatomy.load(file) for file in chosen]
        for _ in simulate_pool(anatomies, pool, range(count), seed, device):
            if deadline.left_s < deadline.seconds / 2:
                raise InputError(
                    f"half of the {job.minutes:g} minutes went into simulation; ask for fewer than {job.cases} cases."
                )
        pools.append([case_folder(pool, number) for number in range(count)])
        logger.info("%d %s simulated after %.0f s", count, name, deadline.elapsed_s)
    return pools[0], pools[1]


def origin_of(job: Job, packed: list[LabelledHead]) -> dict[str, Any]:
    """What every lease of a run must have in common, lest it be tested on heads that it was trained on."""
    names = [head.name for head in packed]
    return {
        "simulation seed": job.simulation_seed,
        "simulator edition": EDITION,
        "heads": names[: -job.held_out],
        "heads held out": names[-job.held_out :],
    }


def finished_runs(work: Path) -> list[Path]:
    """Every run there is, those of earlier leases included."""
    return sorted(path.parent for path in (work / "runs").glob(f"member_*/{CHECKPOINT}"))


def trial(runs: list[Path], folders: list[Path], job: Job, device: torch.device, deadline: Deadline) -> dict[str, Any]:
    """All members together on the cases of heads that were held out."""
    members = [source.built().to(device) for folder in runs for source in sources_of(folder)]
    if not members:
        raise InputError("there was no time to train any member; give more minutes or ask for fewer cases.")
    dtype = torch.bfloat16 if job.config.precision == "bfloat16" else torch.float32
    found = summary(tried(folders, members, dtype, deadline))
    logger.info("test: %s", {name: value for name, value in found.items() if name != "each"})
    return found


def write_results(done: dict[str, Any], runs: list[Path], out: Path) -> None:
    """Writes what comes back; what does not fit is said, what an earlier call wrote stays, and the rest is written."""
    for pack, name in ((pack_weights, "weights.safetensors"), (pack_runs, "runs.zip")):
        try:
            logger.info("%s: %.2f MB of %d members", name, pack(runs, out / name) / 1e6, len(runs))
        except InputError as error:
            kept = "; the one of fewer members is left" if (out / name).exists() else ""
            logger.error("%s: %s%s", name, error, kept)
    write_json(out / "job.json", done)


def machine(device: torch.device) -> dict[str, Any]:
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


class Lines:
    """A line of a member's progress now and then."""

    def __init__(self, member: int) -> None:
        self.member, self.told = member, time.monotonic()

    def __call__(self, progress: Progress) -> None:
        if time.monotonic() - self.told < SECONDS_BETWEEN_LINES:
            return
        self.told = time.monotonic()
        logger.info(
            "member %d: step %d, loss %.3f, score %s, %.0f s left, %.1f %% waiting",
            self.member,
            progress.step,
            progress.loss,
            progress.score,
            progress.seconds_left,
            100 * progress.waiting_share,
        )


if __name__ == "__main__":
    sys.exit(main())
