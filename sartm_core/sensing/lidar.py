"""Point clouds in the reference camera's image."""

import numpy as np
from numpy.typing import NDArray


def project_points(
    points: NDArray[np.floating],
    k: NDArray[np.floating],
    t_camera_lidar: NDArray[np.floating],
    size: tuple[int, int],
) -> NDArray[np.float32]:
    """Projects a LiDAR's points into a camera, as the MUSES SDK does it.

    A point with z > 0 in the camera falls into the pixel floor(u), floor(v); the nearest to the camera wins. Points
    that are not finite are left out.

    Args:
        points: [N, >= 4], x, y, z (metres, LiDAR frame: z up), intensity; further columns are ignored.
        k: [3, 3], the camera matrix.
        t_camera_lidar: [4, 4], takes points of the LiDAR to the camera's optical frame.
        size: height, width of the image.

    Returns:
        float32 [3, H, W]: range (m, from the LiDAR), intensity, height (m, the LiDAR's z); 0 where no point fell.

    Examples:
        >>> ahead = np.array([[10.0, 0.0, 0.5, 42.0]])
        >>> axes = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
        >>> project_points(ahead, np.array([[100, 0, 50], [0, 100, 50], [0, 0, 1.0]]), axes, (100, 100))[:, 45, 50]
        array([10.012492, 42.      ,  0.5     ], dtype=float32)
    """
    height, width = size
    values = np.asarray(points[:, :4], np.float64)
    values = values[np.isfinite(values).all(axis=1)]
    camera = values[:, :3] @ np.asarray(t_camera_lidar)[:3, :3].T + np.asarray(t_camera_lidar)[:3, 3]
    depth = camera[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels = camera @ np.asarray(k).T
        u, v = np.floor(pixels[:, 0] / pixels[:, 2]), np.floor(pixels[:, 1] / pixels[:, 2])
        inside = (depth > 0) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    kept = np.flatnonzero(inside)
    kept = kept[np.argsort(-depth[kept], kind="stable")]  # the nearest is written last
    image = np.zeros((3, height, width), np.float32)
    row, column = v[kept].astype(np.intp), u[kept].astype(np.intp)
    image[0, row, column] = np.linalg.norm(values[kept, :3], axis=1)
    image[1:, row, column] = values[kept][:, [3, 2]].T
    return image
