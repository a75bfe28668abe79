"""Members over a volume: the same answer in tiles, honest where memory runs out, progress that ends at one."""

from __future__ import annotations

import pytest
import torch
from helpers import head_with_ball, small_info, small_network

from ICHSegmentationLib.ensemble import Ensemble
from ICHSegmentationLib.patches import Tiling, plan_tiles
from ICHSegmentationLib.runner import Progress, Runner, Tracker, bleed_probability

CPU = torch.device("cpu")
HEAD = head_with_ball(spacing_mm=(3.0, 3.0, 8.0))
HU = torch.from_numpy(HEAD.hu)


def test_tiles_give_nearly_the_answer_of_the_whole(brightness_ensemble: Ensemble) -> None:
    """A network with no neighbourhood: the tiles' answers are exactly those of the whole."""
    whole = Runner(CPU, brightness_ensemble, None, []).run(0, HU, HEAD.spacing_mm, Tracker(1, None))
    tiling = Tiling((24, 24, 8), (4, 4, 2), (4, 4, 1), gaussian=True)
    tiled = Runner(CPU, brightness_ensemble, tiling, []).run(0, HU, HEAD.spacing_mm, Tracker(1, None))
    assert torch.allclose(tiled, whole, atol=1e-5)


def test_a_small_budget_means_tiles_that_fit_it(small_ensemble: Ensemble) -> None:
    runner = Runner(CPU, small_ensemble, None, [])
    size, spacing = (400, 400, 40), (0.5, 0.5, 5.0)
    runner.budget_bytes = 400 * 400 * 40 * runner.bytes_per_voxel
    assert runner.largest_tiling(size, spacing) == Tiling(size)
    for share in (2, 5, 20):
        runner.budget_bytes = 400 * 400 * 40 * runner.bytes_per_voxel // share
        tiles = plan_tiles(size, runner.largest_tiling(size, spacing))
        voxels = {torch.Size([s.stop - s.start for s in tile.seen]).numel() for tile in tiles}
        assert max(voxels) * runner.bytes_per_voxel <= runner.budget_bytes
        assert len(tiles) > 1


def test_running_out_of_gpu_memory_makes_the_tiles_smaller_and_then_leaves_the_gpu(
    small_ensemble: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a GPU here, the error that torch raises on one is raised by hand."""
    warnings: list[str] = []
    runner = Runner(CPU, small_ensemble, None, warnings)
    runner.device = torch.device("cuda:7")
    tried: list[Tiling] = []
    real = Runner.run_tiles

    def run_tiles(self: Runner, member: int, hu: torch.Tensor, spacing: tuple, tiling: Tiling, tracker: Tracker):
        tried.append(tiling)
        if self.device.type == "cuda":
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return real(self, member, hu, spacing, tiling, tracker)

    monkeypatch.setattr(Runner, "run_tiles", run_tiles)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    answer = runner.run(0, HU, HEAD.spacing_mm, Tracker(2, None))
    assert answer.shape == HU.shape
    assert len(tried) > 2
    assert any("smaller tiles were used" in warning for warning in warnings)
    assert "the rest ran on the CPU (about" in warnings[-1]
    assert runner.description.startswith("cpu")


def test_tiles_without_brain_are_skipped(small_ensemble: Ensemble, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []
    runner = Runner(CPU, small_ensemble, Tiling((16, 16, 8), (2, 2, 1)), [])
    network = small_ensemble.baked(0, (3.0, 3.0, 8.0), CPU, runner.dtype)
    monkeypatch.setattr(small_ensemble, "baked", lambda *_: lambda x: (ran.append(1), network(x))[1])
    air = torch.full((40, 40, 10), -1000.0)
    air[20:30, 20:30, 4:6] = 40
    answer = runner.run(0, air, (3.0, 3.0, 8.0), Tracker(1, None))
    assert 0 < len(ran) < len(plan_tiles((40, 40, 10), runner.tiling))
    assert answer[0, 0, 0] == 0


def test_progress_counts_members_and_tiles_and_ends_at_one(small_ensemble: Ensemble) -> None:
    seen: list[Progress] = []
    runner = Runner(CPU, small_ensemble, Tiling((30, 40, 10), (2, 2, 1)), [])
    tracker = Tracker(2, seen.append)
    for member in range(2):
        runner.run(member, HU, HEAD.spacing_mm, tracker)
    fractions = [progress.fraction for progress in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert {progress.member for progress in seen} == {1, 2}
    assert seen[-1].tile == seen[-1].tiles > 1
    assert seen[-1].seconds_left == 0


def test_one_logit_and_two_classes_mean_the_same() -> None:
    logit = torch.randn(1, 1, 3, 3, 2)
    assert torch.allclose(bleed_probability(logit), bleed_probability(torch.cat([torch.zeros_like(logit), logit], 1)))


def test_a_two_class_network_runs() -> None:
    network = small_network(irreps_out="2x0e")
    ensemble = Ensemble(small_info(), "0", [network])
    answer = Runner(CPU, ensemble, None, []).run(0, HU, HEAD.spacing_mm, Tracker(1, None))
    assert float(answer.min()) >= 0
    assert float(answer.max()) <= 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
def test_a_gpu_gives_the_answer_of_the_cpu(small_ensemble: Ensemble) -> None:
    on_cpu = Runner(CPU, small_ensemble, None, []).run(0, HU, HEAD.spacing_mm, Tracker(1, None))
    on_gpu = Runner(torch.device("cuda"), small_ensemble, None, []).run(0, HU, HEAD.spacing_mm, Tracker(1, None))
    assert float((on_cpu - on_gpu).abs().mean()) < 1e-2


@pytest.mark.parametrize(
    ("size", "spacing"),
    [
        ((512, 512, 2), (0.5, 0.5, 5.0)),
        ((512, 512, 6), (0.5, 0.5, 1.0)),
        ((1024, 1024, 1), (0.25, 0.25, 5.0)),
        ((60, 60, 500), (1.0, 1.0, 1.0)),
    ],
)
def test_thin_stacks_are_tiled_too(size: tuple, spacing: tuple, small_ensemble: Ensemble) -> None:
    runner = Runner(CPU, small_ensemble, None, [])
    runner.budget_bytes = 1
    tiles = plan_tiles(size, runner.largest_tiling(size, spacing))
    assert len(tiles) > 1
    covered = torch.zeros(size, dtype=torch.bool)
    for tile in tiles:
        covered[tile.kept] = True
    assert covered.all()


def test_running_out_of_the_computers_own_memory_ends_in_a_memory_error(
    small_ensemble: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_tiles(*_: object) -> torch.Tensor:
        return torch.empty(10**15)

    monkeypatch.setattr(Runner, "run_tiles", run_tiles)
    with pytest.raises(MemoryError):
        Runner(CPU, small_ensemble, None, []).run(0, HU, HEAD.spacing_mm, Tracker(1, None))


def test_other_errors_are_not_taken_for_want_of_memory(
    small_ensemble: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_tiles(*_: object) -> torch.Tensor:
        raise RuntimeError("sizes do not match")

    monkeypatch.setattr(Runner, "run_tiles", run_tiles)
    with pytest.raises(RuntimeError, match="do not match"):
        Runner(CPU, small_ensemble, None, []).run(0, HU, HEAD.spacing_mm, Tracker(1, None))
