"""Where a volume lies in the world: index (i, j, k) to RAS millimetres and back, exact on the grid (layer: core).

World coordinates are RAS (right, anterior, superior) in millimetres, as in Slicer; ITK and DICOM files are LPS.
Arrays are (K, J, I): slices, rows, columns. Indices are (i, j, k), an integer is the centre of a voxel.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from .errors import GeometryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

ORTHOGONALITY_TOLERANCE_DEG = 0.1
"""Largest deviation from a right angle: rounded direction cosines of DICOM stay below, a tilted gantry does not."""

SAME_GRID_TOLERANCE_VOXEL = 0.01
"""Two grids are the same when no corner is farther away than this: NIfTI's 32-bit matrices stay below."""

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Flips the first two world axes; its own inverse."""
LPS_TO_RAS.flags.writeable = False


class Axis(StrEnum):
    """The index axis along which frames are stacked."""

    I = "i"  # noqa: E741 (the name of the axis)
    J = "j"
    K = "k"

    @property
    def array_axis(self) -> int:
        """Position of this axis in a (K, J, I) array."""
        return "kji".index(self.value)

    @property
    def frame_axes(self) -> tuple[int, int]:
        """Index axes (0 = i, 1 = j, 2 = k) that run along a frame's columns and along its rows, in this order."""
        return {"i": (1, 2), "j": (0, 2), "k": (0, 1)}[self.value]


@dataclass(frozen=True, eq=False)
class VolumeGeometry:
    """Size and placement of a voxel grid; an existing object is a valid one.

    Attributes:
        shape_kji: Number of slices, rows and columns.
        ijk_to_ras: (4, 4) matrix from voxel index (i, j, k, 1) to RAS mm; a read-only copy of what was given.

    Raises:
        GeometryError: If the matrix is not finite, singular or sheared, or the shape is empty.
    """

    shape_kji: tuple[int, int, int]
    ijk_to_ras: NDArray[np.float64]

    def __post_init__(self) -> None:
        """Freeze and validate."""
        matrix = np.array(self.ijk_to_ras, dtype=np.float64)
        shape = tuple(int(size) for size in self.shape_kji)
        if len(shape) != 3 or min(shape) < 1:
            msg = f"A grid of shape {shape} is not a volume: it needs three sizes (K, J, I), each at least 1."
            raise GeometryError(msg)
        _check_matrix(matrix)
        matrix.flags.writeable = False
        object.__setattr__(self, "shape_kji", shape)
        object.__setattr__(self, "ijk_to_ras", matrix)

    @classmethod
    def from_lps(
        cls,
        shape_kji: tuple[int, int, int],
        origin: Sequence[float],
        spacing: Sequence[float],
        direction: Sequence[float],
    ) -> VolumeGeometry:
        """Build from ITK's description: LPS origin, spacing (i, j, k), nine direction cosines row by row."""
        if (len(origin), len(spacing), len(direction)) != (3, 3, 9):
            msg = (
                f"Origin, spacing and direction have {len(origin)}, {len(spacing)} and {len(direction)} numbers; "
                "a volume has 3, 3 and 9."
            )
            raise GeometryError(msg)
        ijk_to_lps = np.eye(4)
        ijk_to_lps[:3, :3] = np.reshape(direction, (3, 3)) * np.asarray(spacing, dtype=np.float64)
        ijk_to_lps[:3, 3] = origin
        return cls(shape_kji, LPS_TO_RAS @ ijk_to_lps)

    def to_lps(self) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
        """Return ITK's description: LPS origin, spacing (i, j, k), nine direction cosines row by row."""
        ijk_to_lps = LPS_TO_RAS @ self.ijk_to_ras
        direction = ijk_to_lps[:3, :3] / np.asarray(self.spacing_mm)
        return tuple(ijk_to_lps[:3, 3].tolist()), self.spacing_mm, tuple(direction.ravel().tolist())

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along i, j and k."""
        return tuple(np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0).tolist())

    @property
    def ras_to_ijk(self) -> NDArray[np.float64]:
        """(4, 4) matrix from RAS mm to voxel index."""
        return np.linalg.inv(self.ijk_to_ras)

    @property
    def is_left_handed(self) -> bool:
        """Whether the axes i, j, k form a left-handed system (a mirrored grid)."""
        return bool(np.linalg.det(self.ijk_to_ras[:3, :3]) < 0)

    def map_ijk_to_ras(self, points_ijk: ArrayLike) -> NDArray[np.float64]:
        """Map (N, 3) voxel indices, fractions allowed, to RAS mm."""
        return map_points(self.ijk_to_ras, points_ijk)

    def map_ras_to_ijk(self, points_ras: ArrayLike) -> NDArray[np.float64]:
        """Map (N, 3) points in RAS mm to fractional voxel indices."""
        return map_points(self.ras_to_ijk, points_ras)

    def same_grid_as(self, other: VolumeGeometry) -> bool:
        """Whether both grids have the same shape and their voxels lie on each other."""
        if self.shape_kji != other.shape_kji:
            return False
        shape_ijk = self.shape_kji[::-1]
        # Outer corners, not centres: a one-slice volume then still feels a difference in slice direction.
        corners = np.array(list(itertools.product(*((-0.5, size - 0.5) for size in shape_ijk))))
        offset = other.map_ras_to_ijk(self.map_ijk_to_ras(corners)) - corners
        return bool(np.abs(offset).max() <= SAME_GRID_TOLERANCE_VOXEL)


def map_points(matrix: NDArray[np.float64], points: ArrayLike) -> NDArray[np.float64]:
    """Apply a (4, 4) matrix to (N, 3) points."""
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3:
        msg = f"Points of shape {points.shape} cannot be mapped: the shape must be (N, 3)."
        raise GeometryError(msg)
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def _check_matrix(matrix: NDArray[np.float64]) -> None:
    """Refuse matrices that do not place a grid with right angles in the world."""
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        msg = "The index-to-world matrix must be 4 x 4 with finite numbers only; the image header is damaged."
        raise GeometryError(msg)
    if not np.allclose(matrix[3], [0, 0, 0, 1]):
        msg = f"The last row of the index-to-world matrix is {matrix[3].tolist()}; it must be [0, 0, 0, 1]."
        raise GeometryError(msg)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    if spacing.min() == 0:
        msg = f"The voxel spacing is {spacing.tolist()} mm; each of the three must be larger than zero."
        raise GeometryError(msg)
    cosines = matrix[:3, :3] / spacing
    for a, b in ((0, 1), (0, 2), (1, 2)):
        # The sine of the deviation; stable near zero, where an arc cosine is not.
        shear_deg = math.degrees(math.asin(min(1.0, abs(float(cosines[:, a] @ cosines[:, b])))))
        if shear_deg > ORTHOGONALITY_TOLERANCE_DEG:
            msg = (
                f"The grid is sheared: its axes {'ijk'[a]} and {'ijk'[b]} deviate from a right angle by "
                f"{shear_deg:.1f} degrees (accepted: {ORTHOGONALITY_TOLERANCE_DEG}); a tilted CT gantry does this. "
                "Resample the image onto a straight grid first."
            )
            raise GeometryError(msg)
