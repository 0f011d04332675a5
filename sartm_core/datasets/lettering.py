"""How names of classes, frames and tags are written into figures: as they are, in whichever script."""

from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib
from matplotlib import font_manager

FALLBACKS = ("Noto Sans CJK JP", "Noto Sans CJK SC", "WenQuanYi Zen Hei", "Droid Sans Fallback")
"""Fonts with Chinese, Japanese and Korean letters, which matplotlib's own lacks; those that are installed are used."""


def font_file(text: str) -> str:
    """The file of a font that has the letters of a text, as far as one is installed; matplotlib brings the first."""
    installed = set(font_manager.get_font_names())
    known = () if text.isascii() else FALLBACKS
    name = next((name for name in known if name in installed), "DejaVu Sans")
    return str(font_manager.findfont(name))


@contextmanager
def plain_text() -> Iterator[None]:
    """Within it, and in functions that it decorates, figures take no `$` for mathematics."""
    installed = set(font_manager.get_font_names())
    family = ["DejaVu Sans", *(name for name in FALLBACKS if name in installed)]
    with matplotlib.rc_context({"text.parse_math": False, "font.family": family}):
        yield
