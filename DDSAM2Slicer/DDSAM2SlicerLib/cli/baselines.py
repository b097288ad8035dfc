"""What a user has without a network, to compare with: copied mask, demons registration, grow-cut (layer: cli).

Each function gets the image and the mask of one slice and returns masks for all slices: (K, J, I), (J, I), slice index.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..core.intensity import IntensityMapping

DEMONS_ITERATIONS = 50
DEMONS_SIGMA_PX = 1.0
"""Smoothing of the displacement field."""


def copy_mask(array_kji: NDArray, mask: NDArray[np.bool_], prompted: int) -> NDArray[np.bool_]:
    """Repeat the mask on every slice."""
    return np.broadcast_to(mask, array_kji.shape).copy()


def follow_with_demons(array_kji: NDArray, mask: NDArray[np.bool_], prompted: int) -> NDArray[np.bool_]:
    """Carry the mask from slice to slice with symmetric-forces demons registration (SimpleITK)."""
    grey = _linear_grey(array_kji)
    masks = np.zeros(array_kji.shape, bool)
    masks[prompted] = mask
    for step, last in ((1, len(grey)), (-1, -1)):
        # The mask stays soft on its way: rounding it on every slice would wear thin parts away.
        soft = mask.astype(np.float32)
        for k in range(prompted + step, last, step):
            soft = _warp_to(grey[k], grey[k - step], soft)
            masks[k] = soft >= 0.5
    return masks


def _linear_grey(array_kji: NDArray) -> NDArray[np.float32]:
    """Grey values between robust percentiles, 0 to 255, as these methods are commonly given them."""
    return replace(IntensityMapping.from_array(array_kji), tones=None).apply(array_kji).astype(np.float32)


def _warp_to(target: NDArray, source: NDArray, soft_mask: NDArray) -> NDArray:
    """Register the source slice to the target slice and move its mask along."""
    import SimpleITK

    demons = SimpleITK.FastSymmetricForcesDemonsRegistrationFilter()
    demons.SetNumberOfIterations(DEMONS_ITERATIONS)
    demons.SetStandardDeviations(DEMONS_SIGMA_PX)
    fixed = SimpleITK.GetImageFromArray(target)
    field = demons.Execute(fixed, SimpleITK.GetImageFromArray(source))
    transform = SimpleITK.DisplacementFieldTransform(SimpleITK.Cast(field, SimpleITK.sitkVectorFloat64))
    moved = SimpleITK.Resample(SimpleITK.GetImageFromArray(soft_mask), fixed, transform, SimpleITK.sitkLinear, 0.0)
    return SimpleITK.GetArrayFromImage(moved)


def grow_cut(array_kji: NDArray, mask: NDArray[np.bool_], prompted: int) -> NDArray[np.bool_]:
    """Grow from seeds as Slicer does (fast grow-cut): the mask is one seed, the rest of its slice the other."""
    import itk

    seeds = np.zeros(array_kji.shape, np.uint8)
    seeds[prompted] = np.where(mask, 1, 2)
    grower = itk.FastGrowCut[itk.Image[itk.F, 3], itk.Image[itk.UC, 3]].New()
    grower.SetInput(itk.image_from_array(_linear_grey(array_kji)))
    grower.SetSeedImage(itk.image_from_array(seeds))
    grower.Update()
    return itk.array_from_image(grower.GetOutput()) == 1


BASELINES = {"copy": copy_mask, "demons": follow_with_demons, "growcut": grow_cut}
