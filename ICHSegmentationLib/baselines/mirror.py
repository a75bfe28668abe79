"""A scan mirrored and laid onto itself, so that each voxel meets its counterpart in the other hemisphere.

Abramova et al. (INSTANCE 2022) and Clèrigues et al. (2019) register with FLIRT; SimpleITK takes its place.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from ICHSegmentationLib.baselines.skull_strip import head_mask
from ICHSegmentationLib.geometry import PADDING_HU

WINDOW_HU = (-200.0, 400.0)  # what the registration looks at: skin, skull and the brain's outline
WORKING_MM = 4.0


def mirrored_onto_itself(hu: np.ndarray, spacing_mm: tuple[float, float, float], axis: int) -> np.ndarray:
    """Reverses the axis from ear to ear and registers the mirror image rigidly to the scan.

    [x, y, z] -> the same shape, in HU; `axis` is that of `left_right_axis`.

    By mean squares, in two resolutions, from where the two centres of mass meet, of the head alone: a head rest stays
    where it is when the head lies askew. Where nothing of the mirror image comes to lie there is padding.
    """
    alone = np.where(head_mask(hu, spacing_mm), hu, PADDING_HU)
    fixed, moving = image_of(alone, spacing_mm), image_of(np.flip(alone, axis), spacing_mm)
    seen_fixed, seen_moving = (
        coarse(sitk.IntensityWindowing(image, *WINDOW_HU, 0.0, 1.0)) for image in (fixed, moving)
    )
    start = sitk.CenteredTransformInitializer(
        seen_fixed, seen_moving, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.MOMENTS
    )
    registration = sitk.ImageRegistrationMethod()
    registration.SetMetricAsMeanSquares()
    registration.SetInterpolator(sitk.sitkLinear)
    registration.SetOptimizerAsRegularStepGradientDescent(
        learningRate=2.0, minStep=1e-3, numberOfIterations=300, relaxationFactor=0.7, gradientMagnitudeTolerance=1e-9
    )
    registration.SetOptimizerScalesFromPhysicalShift()
    registration.SetShrinkFactorsPerLevel([2, 1])
    registration.SetSmoothingSigmasPerLevel([4.0, 1.0])
    registration.SetInitialTransform(start, inPlace=False)
    registration.SetNumberOfThreads(1)  # sums in one order: the same result every time
    transform = registration.Execute(seen_fixed, seen_moving)
    laid = sitk.Resample(moving, fixed, transform, sitk.sitkLinear, PADDING_HU)
    return np.ascontiguousarray(sitk.GetArrayFromImage(laid).transpose(2, 1, 0))


def left_right_axis(affine: np.ndarray) -> int:
    """The array axis, 0 to 2, that runs most nearly from left to right by an affine [4, 4] to RAS mm."""
    steps = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return int(np.abs(steps[0]).argmax())


def image_of(hu: np.ndarray, spacing_mm: tuple[float, float, float]) -> sitk.Image:
    image = sitk.GetImageFromArray(np.ascontiguousarray(hu.transpose(2, 1, 0), np.float32))
    image.SetSpacing(spacing_mm)
    return image


def coarse(image: sitk.Image) -> sitk.Image:
    """The image at about `WORKING_MM`, smoothed first."""
    factors = [max(1, round(WORKING_MM / step)) for step in image.GetSpacing()]
    return sitk.BinShrink(image, [min(factor, side) for factor, side in zip(factors, image.GetSize(), strict=True)])
