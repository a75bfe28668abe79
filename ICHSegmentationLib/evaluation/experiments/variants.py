"""Variants of one steerable system: other kernel diameters and widths, other shares of scalars, vectors and tensors.

Diaz et al. (MELBA 2024) compare them with so3-steerable; each variant takes part in a comparison as a system would.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from ICHSegmentationLib.baselines.runs import merged
from ICHSegmentationLib.errors import InputError, require_at_least
from ICHSegmentationLib.evaluation.child import CATALOGUE
from ICHSegmentationLib.evaluation.comparison import Entrant, Standing
from ICHSegmentationLib.evaluation.figures import dice_against
from ICHSegmentationLib.unet import doubled

SYSTEM = "so3-steerable"
RATIOS = {  # the paper's, of 30 channels at the top
    "8-4-2": "8x0e+4x1e+2x2e",
    "30-0-0": "30x0e",
    "8-8-0": "8x0e+8x1e",
    "4-4-4": "4x0e+4x1e+4x2e",
}


def irreps_variants(
    network: Mapping[str, Any], settings: Mapping[str, Any], catalogue: str = CATALOGUE
) -> list[Entrant]:
    """One entrant for each of the paper's ratios.

    Args:
        network: the system's own network configuration, as JSON values.
        settings: what else differs from the system's own settings.
        catalogue: MODULE:FUNCTION that gives the system.
    """
    levels = len(network["irreps_levels"])
    changes = {label: {"irreps_levels": list(doubled(irreps, levels))} for label, irreps in RATIOS.items()}
    return [variant(f"irreps-{label}", change, settings, catalogue) for label, change in changes.items()]


def kernel_variants(
    network: Mapping[str, Any],
    settings: Mapping[str, Any],
    factors: Sequence[float],
    widths: Sequence[int],
    catalogue: str = CATALOGUE,
) -> list[Entrant]:
    """One entrant for each factor of all kernel diameters, at each multiple of the narrowest width (1x0e+...).

    Args:
        network: the system's own network configuration, as JSON values.
        settings: what else differs from the system's own settings.
        factors: of the kernel diameters.
        widths: 4 gives 4x0e+2x1e+1x2e at the top.
        catalogue: MODULE:FUNCTION that gives the system.

    Raises:
        InputError: a factor is not above 0, or a width less than 1.
    """
    if wrong := [factor for factor in factors if not 0 < factor < math.inf]:
        raise InputError(f"a factor of the kernels' diameters must be above 0; found {wrong[0]:g}.")
    require_at_least(1, {"--widths": min(widths)})
    levels, diameters = len(network["irreps_levels"]), network["diameters_mm"]
    entrants = []
    for width in widths:
        top = f"{width}x0e+{max(1, width // 2)}x1e+{max(1, width // 4)}x2e"
        for factor in factors:
            change = {
                "irreps_levels": list(doubled(top, levels)),
                "diameters_mm": [factor * diameter for diameter in diameters],
            }
            entrants.append(variant(f"width-{width}-kernel-{factor * diameters[0]:g}mm", change, settings, catalogue))
    return entrants


def variant(label: str, network: dict[str, Any], settings: Mapping[str, Any], catalogue: str) -> Entrant:
    return Entrant(label, SYSTEM, merged(dict(settings), {"network": network}), catalogue=catalogue)


def kernel_figure(standings: Sequence[Standing], title: str) -> Figure:
    """Mean Dice and its interval against the kernels' diameter at the top, a line for each width.

    Variants of one width have as many parameters whatever their kernels' size: weights are of radial functions.
    """
    figure = Figure(figsize=(7.5, 4.2), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    tops = dict.fromkeys(top_irreps(standing) for standing in standings)
    for top in tops:
        group = [standing for standing in standings if top_irreps(standing) == top]
        dices = [standing.evaluation.overall.metrics["dice"] for standing in group]
        axes.errorbar(
            [standing.entrant.settings["network"]["diameters_mm"][0] for standing in group],
            [dice.mean for dice in dices],
            [[dice.mean - dice.low for dice in dices], [dice.high - dice.mean for dice in dices]],
            marker="o",
            capsize=3,
            label=f"{top}\n{group[0].parameters:,} parameters",
        )
    dice_against(axes, "diameter of the kernels at the top (mm)", "mean Dice, 95 % interval")
    axes.set_title(title, fontsize=8)
    return figure


def top_irreps(standing: Standing) -> str:
    return str(standing.entrant.settings["network"]["irreps_levels"][0])


def variants_figure(standings: Sequence[Standing], title: str) -> Figure:
    """Mean Dice and its interval against the number of parameters, a point for each variant."""
    figure = Figure(figsize=(7.5, 4.2), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    for standing in standings:
        summary = standing.evaluation.overall.metrics["dice"]
        bars = [[summary.mean - summary.low], [summary.high - summary.mean]]
        axes.errorbar([standing.parameters], [summary.mean], bars, marker="o", capsize=3, label=standing.entrant.label)
    axes.set_xscale("log")
    for ticks in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        ticks("{x:,.0f}")
    axes.tick_params(axis="x", which="both", labelsize=7, labelrotation=30)
    dice_against(axes, "parameters", "mean Dice, 95 % interval")
    axes.set_title(title, fontsize=8)
    return figure
