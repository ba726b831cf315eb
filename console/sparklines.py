"""Small lines of a few numbers, drawn as SVG paths."""

from collections.abc import Sequence

WIDTH, HEIGHT = 112, 28  # of the drawing
_MARGIN = 2  # so that the line's own width stays inside


def path(values: Sequence[int]) -> str:
    """An SVG path through two values or more, none below zero, from 0 at the bottom to the largest at the top."""
    most = max(values) or 1
    step = (WIDTH - 2 * _MARGIN) / (len(values) - 1)
    room = HEIGHT - 2 * _MARGIN
    points = (f"{_MARGIN + n * step:.1f} {HEIGHT - _MARGIN - room * each / most:.1f}" for n, each in enumerate(values))
    return "M" + "L".join(points)
