"""Curves over time as an SVG: panels one below the other, each with its axes, units and a legend."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT = 960, 70, 215
HEIGHT, TOP, GAP = 170, 46, 62  # of a panel; above the first; between two, with the next one's title
COLORS = ("#0b5cad", "#c2410c", "#15803d", "#7e22ce", "#b91c1c", "#0f766e", "#a16207", "#475569")
TICKS = 5
FONT = 'font-family="DejaVu Sans, Helvetica, Arial, sans-serif"'


@dataclass(frozen=True)
class Series:
    name: str
    points: Sequence[tuple[float, float]]  # minutes, and the value
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    title: str  # with the unit
    series: Sequence[Series]
    logarithmic: bool = False


def draw(title: str, panels: Sequence[Panel], minutes: float) -> str:
    """The document. Values on a logarithmic axis must be above 0."""
    height = TOP + len(panels) * (HEIGHT + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'{FONT} font-size="12" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="16" y="24" font-size="15" font-weight="bold" fill="#111827">{escape(title)}</text>',
    ]
    for number, panel in enumerate(panels):
        parts += _panel(panel, TOP + 24 + number * (HEIGHT + GAP), minutes)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(panel: Panel, top: float, minutes: float) -> list[str]:
    values = [value for series in panel.series for _, value in series.points]
    ticks = _decades(values) if panel.logarithmic else _steps(max(values, default=1))
    low, high = ticks[0], ticks[-1]
    right = WIDTH - RIGHT

    def x(minute: float) -> float:
        return round(LEFT + (right - LEFT) * minute / minutes, 1)

    def y(value: float) -> float:
        share = math.log(value / low, high / low) if panel.logarithmic else (value - low) / (high - low)
        return round(top + HEIGHT * (1 - share), 1)

    parts = [f'<text x="16" y="{top - 10}" font-weight="bold" fill="#111827">{escape(panel.title)}</text>']
    for tick in ticks:
        parts += [
            f'<line x1="{LEFT}" y1="{y(tick)}" x2="{right}" y2="{y(tick)}" stroke="#e5e7eb"/>',
            f'<text x="{LEFT - 8}" y="{y(tick) + 4}" text-anchor="end" fill="#374151">{tick:,g}</text>',
        ]
    for minute in _steps(minutes):
        if minute <= minutes:
            parts += [
                f'<line x1="{x(minute)}" y1="{top + HEIGHT}" x2="{x(minute)}" y2="{top + HEIGHT + 4}" '
                'stroke="#6b7280"/>',
                f'<text x="{x(minute)}" y="{top + HEIGHT + 17}" text-anchor="middle" fill="#374151">{minute:g}</text>',
            ]
    parts += [
        f'<path d="M{LEFT} {top}V{top + HEIGHT}H{right}" fill="none" stroke="#6b7280"/>',
        f'<text x="{right + 16}" y="{top + HEIGHT + 17}" fill="#374151">minutes</text>',
    ]
    for number, series in enumerate(series for series in panel.series if series.points):
        color = COLORS[number % len(COLORS)]
        dash = ' stroke-dasharray="4 3"' if series.dashed else ""
        points = " ".join(f"{x(minute)},{y(value)}" for minute, value in series.points)
        beside = top + 8 + 17 * number
        parts += [
            f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.5"{dash}/>',
            f'<line x1="{right + 12}" y1="{beside}" x2="{right + 32}" y2="{beside}" stroke="{color}" '
            f'stroke-width="2"{dash}/>',
            f'<text x="{right + 38}" y="{beside + 4}" fill="#111827">{escape(series.name)}</text>',
        ]
    return parts


def _steps(high: float) -> list[float]:
    """From 0 to `high` or a little more, in round numbers."""
    rough = max(high, 1e-9) / TICKS
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= rough)
    return [round(step * number, 9) for number in range(math.ceil(high / step) + 1)]


def _decades(values: Sequence[float]) -> list[float]:
    low, high = min(values, default=1), max(values, default=10)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return [10.0**power for power in range(first, max(last, first + 1) + 1)]
