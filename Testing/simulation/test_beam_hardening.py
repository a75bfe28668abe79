"""Beam hardening: the projector is right, water shows none, bone makes brain glow and darkens what lies between."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from ICHSegmentationLib.simulation.beam_hardening import Beam, beam_hardening_hu
from ICHSegmentationLib.simulation.projection import PIXEL_MM, VIEWS, backprojected, projector

BEAM = Beam(peak_kv=120.0, filter_mm=6.0, left=1.0)
SIZE = 160  # pixels of 1 mm


def from_middle_mm(size: int = SIZE, x_mm: float = 0.0, y_mm: float = 0.0, pixel_mm: float = 1.0) -> torch.Tensor:
    place = (torch.arange(size) - (size - 1) / 2) * pixel_mm
    return ((place[:, None] - x_mm) ** 2 + (place[None, :] - y_mm) ** 2).sqrt()


def skull(thickness_mm: float) -> torch.Tensor:
    """A round head of 35 HU, radius 65 mm inside the bone; one slice."""
    radius = from_middle_mm()
    hu = torch.where(radius < 65, 35.0, torch.where(radius < 65 + thickness_mm, 1200.0, -1000.0))
    return hu[:, :, None]


def ring_mean(field: torch.Tensor, low_mm: float, high_mm: float) -> float:
    radius = from_middle_mm()
    return float(field[:, :, 0][(radius >= low_mm) & (radius < high_mm)].mean())


def test_the_projection_of_a_disc_is_as_long_as_its_chords() -> None:
    size = 96
    disc = (from_middle_mm(size, pixel_mm=PIXEL_MM) < 40).float()
    project, _ = projector(size, torch.device("cpu"))
    chords = (project @ disc.reshape(-1, 1)).reshape(VIEWS, size)
    place = (torch.arange(size) - (size - 1) / 2) * PIXEL_MM
    expected = 2 * (40**2 - place**2).clamp_min(0).sqrt() / 10
    middle = place.abs() < 35
    difference = (chords - expected)[:, middle].abs()  # the disc has the jagged edge of pixels
    assert float(difference.mean()) < 0.1
    assert float(difference.max()) < 1
    assert float((chords - expected).mean().abs()) < 0.03


def test_filtered_backprojection_gives_the_disc_back() -> None:
    size = 96
    radius = from_middle_mm(size, pixel_mm=PIXEL_MM)
    project, spread = projector(size, torch.device("cpu"))
    sinogram = (project @ (radius < 40).float().reshape(-1, 1)).reshape(VIEWS, size, 1)
    again = backprojected(sinogram, spread).reshape(size, size)
    assert float(again[radius < 35].mean()) == pytest.approx(1, abs=0.01)
    assert float(again[(radius > 45) & (radius < 65)].mean()) == pytest.approx(0, abs=0.01)


def test_water_is_corrected_to_the_last() -> None:
    radius = from_middle_mm()
    water = torch.where(radius < 65, 0.0, -1000.0)[:, :, None]
    assert float(beam_hardening_hu(water, 1.0, BEAM).abs().max()) < 0.2


def test_brain_glows_under_bone_and_the_more_the_thicker_it_is() -> None:
    thin, thick = (beam_hardening_hu(skull(thickness), 1.0, BEAM) for thickness in (4.0, 10.0))
    assert ring_mean(thick, 61, 64) > ring_mean(thick, 50, 54) + 3 > ring_mean(thick, 0, 20) + 3
    assert ring_mean(thick, 61, 64) - ring_mean(thick, 0, 20) > ring_mean(thin, 61, 64) - ring_mean(thin, 0, 20) > 2


def test_a_harder_beam_and_a_better_correction_leave_less() -> None:
    def glow(beam: Beam) -> float:
        field = beam_hardening_hu(skull(8.0), 1.0, beam)
        return ring_mean(field, 61, 64) - ring_mean(field, 0, 20)

    assert glow(Beam(100.0, 4.0, 1.0)) > glow(BEAM) > glow(Beam(140.0, 12.0, 1.0)) > 1
    assert glow(dataclasses.replace(BEAM, left=0.5)) == pytest.approx(0.5 * glow(BEAM), rel=1e-4)
    assert float(beam_hardening_hu(skull(8.0), 1.0, dataclasses.replace(BEAM, left=0.0)).abs().max()) == 0


def test_between_two_dense_bones_it_is_dark() -> None:
    hu = torch.where(from_middle_mm() < 70, 30.0, -1000.0)
    for side in (-40.0, 40.0):
        hu[from_middle_mm(x_mm=side) < 12] = 1500
    field = beam_hardening_hu(hu[:, :, None], 1.0, BEAM)[:, :, 0]
    between = (from_middle_mm() < 10) & (hu < 100)
    aside = from_middle_mm(y_mm=45.0) < 10
    assert float(field[between].mean()) < float(field[aside].mean()) - 5


def test_a_turned_head_has_a_turned_error() -> None:
    hu = skull(8.0)
    hu[:, :, 0][from_middle_mm(x_mm=20.0, y_mm=35.0) < 8] = 900
    turned = beam_hardening_hu(hu.transpose(0, 1).flip(0).contiguous(), 1.0, BEAM)
    straight = beam_hardening_hu(hu, 1.0, BEAM).transpose(0, 1).flip(0)
    brain = hu.transpose(0, 1).flip(0) < 100
    difference = (turned - straight)[brain].abs()
    assert float(difference.mean()) < 1
    assert float(difference.quantile(0.99)) < 4


def test_slices_do_not_see_each_other() -> None:
    both = torch.cat([skull(8.0), skull(4.0)], dim=2)
    field = beam_hardening_hu(both, 1.0, BEAM)
    assert torch.allclose(field[:, :, :1], beam_hardening_hu(skull(8.0), 1.0, BEAM), atol=1e-3)


def test_a_drawn_beam_follows_its_seed() -> None:
    assert Beam.draw(np.random.default_rng(3)) == Beam.draw(np.random.default_rng(3))
