"""Whether an image holds a measurement at all."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def emptiness_of_image(raw: NDArray[Any], image: NDArray[Any]) -> str | None:
    """Why an image holds nothing: all pixels are equal, or none of it lies in the reference's view; None if it does.

    Args:
        raw: as the driver delivers it.
        image: the same in the reference's geometry.
    """
    if not _varies(raw[::8, ::8]) and not _varies(raw):
        return f"every pixel is {', '.join(f'{value:g}' for value in np.ravel(raw[0, 0]))}"
    if np.issubdtype(raw.dtype, np.floating) and not np.isfinite(raw).any():
        return "no pixel is finite"
    if image is not raw and not np.nan_to_num(image).any():
        return "nothing of it lies in the reference camera's view"
    return None


def _varies(image: NDArray[Any]) -> bool:
    return bool((image != image[:1, :1]).any())
