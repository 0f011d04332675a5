"""Arrays at another size without mixing: class ids, ranges, points."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sartm_core.rig import Size


def nearest(array: NDArray[Any], size: Size) -> NDArray[Any]:
    """An array [H, W, ...] at another (height, width): of each new pixel the one that its centre falls into.

    Examples:
        >>> nearest(np.arange(6).reshape(1, 6), (1, 3))
        array([[1, 3, 5]])
    """
    height, width = array.shape[:2]
    if (height, width) == size:
        return array
    rows = ((np.arange(size[0]) + 0.5) * height / size[0]).astype(np.intp)
    columns = ((np.arange(size[1]) + 0.5) * width / size[1]).astype(np.intp)
    return array[rows[:, None], columns]
