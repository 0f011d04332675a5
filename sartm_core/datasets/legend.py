"""The classes of a rig with their colours, as an image."""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sartm_core.datasets.lettering import font_file
from sartm_core.rig import Rig

PAPER, INK, EDGE = (255, 255, 255), (29, 36, 41), (160, 168, 175)


@cache
def _font(file: str, pixels: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, pixels)


def write_words(drawing: ImageDraw.ImageDraw, at: tuple[int, int], text: str, pixels: int) -> None:
    """Writes a line in whichever script, its left edge at a point (x, y) and its middle at that height."""
    drawing.text(at, text, fill=INK, font=_font(font_file(text), pixels), anchor="lm")


def legend(rig: Rig, width: int = 260, pixels: int = 18) -> NDArray[np.uint8]:
    """A row for each class: its colour, its id, its name.

    Args:
        rig: gives the classes.
        width: of the image; longer names are cut off.
        pixels: height of the letters.

    Returns:
        uint8 [H, W, 3], red, green, blue.
    """
    row = round(1.5 * pixels)
    image = Image.new("RGB", (width, row * len(rig.classes) + pixels), PAPER)
    drawing = ImageDraw.Draw(image)
    for number, spec in enumerate(rig.classes):
        middle = row * number + (row + pixels) // 2
        top, bottom = middle - pixels // 2, middle + pixels // 2
        drawing.rectangle((pixels // 2, top, pixels * 2, bottom), fill=spec.color, outline=EDGE)
        write_words(drawing, (round(pixels * 2.5), middle), f"{number}  {spec.name}", pixels)
    return np.asarray(image, np.uint8)
