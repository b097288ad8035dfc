"""Matrices between MRML nodes, their parent transforms and the world; linear ones only (layer: mrml)."""

from __future__ import annotations

import numpy as np
import vtk
from numpy.typing import NDArray

from ..core.errors import GeometryError


def matrix_from_vtk(matrix: vtk.vtkMatrix4x4) -> NDArray[np.float64]:
    """Copy a VTK matrix into a (4, 4) array."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def matrix_to_vtk(matrix: NDArray) -> vtk.vtkMatrix4x4:
    """Copy a (4, 4) array into a new VTK matrix."""
    result = vtk.vtkMatrix4x4()
    for row in range(4):
        for column in range(4):
            result.SetElement(row, column, float(matrix[row, column]))
    return result


def local_to_world(node) -> NDArray[np.float64]:
    """(4, 4) from a node's own coordinates to the world, through all its parent transforms.

    Raises:
        GeometryError: If one of the parents is not linear.
    """
    parent = node.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    if not parent.IsTransformToWorldLinear():
        msg = (
            f"{node.GetName()!r} is under the non-linear transform {parent.GetName()!r}; only linear transforms are "
            "accepted. Harden the transform on the node (Transforms module), or take the node out of it."
        )
        raise GeometryError(msg)
    matrix = vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(matrix)
    return matrix_from_vtk(matrix)


def share_transform(node, leader) -> None:
    """Put a node under the leader's parent transform."""
    parent = leader.GetParentTransformNode()
    node.SetAndObserveTransformNodeID(parent.GetID() if parent is not None else None)
