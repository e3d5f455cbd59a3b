"""A plot: a figure laid out in inches, which notebooks show and `save` writes; pyplot's global state is not touched."""

from __future__ import annotations

import base64
import io
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...cache.storage.atomic import write_durably
from ...errors import ConfigError
from .figures import INK, to_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
DPI = 110


class Plot:
    """A figure that shows itself in a notebook.

    `figure` is matplotlib's `Figure`, yours to change before it is shown or saved.

    Args:
        width: in inches.
        height: in inches.
    """

    figure: Figure

    def __init__(self, width: float, height: float) -> None:
        from matplotlib.figure import Figure

        self.figure, self._width, self._height = Figure(figsize=(width, height), dpi=DPI), width, height

    def save(self, path: Path | str) -> None:
        """Write the figure, durably, in the format of the file's suffix.

        Args:
            path: ends in `.png`, `.svg` or `.pdf`; an existing file is replaced, its folder made where there is none.

        Raises:
            ConfigError: if it ends in anything else.
        """
        path = Path(path)
        if path.suffix.lower() not in FORMATS:
            raise ConfigError(f"{path}: a plot is written as {', '.join(FORMATS)}; give one of these suffixes")
        path.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format=path.suffix[1:].lower())
        write_durably(path, [buffer.getbuffer()])

    def axes(self, x: float, y: float, width: float, height: float, *, bare: bool = True) -> Axes:
        """Axes whose upper left corner is at (x, y) inches from that of the figure.

        Args:
            x: to the right.
            y: downwards.
            width: of the axes.
            height: of the axes.
            bare: without ticks and frame, for images.
        """
        box = (x / self._width, 1 - (y + height) / self._height, width / self._width, height / self._height)
        axes = self.figure.add_axes(box)
        if bare:
            axes.set_axis_off()
        return axes

    def write(
        self, x: float, y: float, text: str, *, colour: str = INK, weight: str = "normal", align: str = "left"
    ) -> None:
        """A line of text below (x, y) inches from the figure's upper left corner."""
        look: dict[str, Any] = {
            "fontsize": 8.5,
            "color": colour,
            "weight": weight,
            "ha": align,
            "va": "top",
            "parse_math": False,
        }
        self.figure.text(x / self._width, 1 - y / self._height, text, fontdict=None, **look)

    def to_png(self) -> bytes:
        """The figure as PNG."""
        return to_png(self.figure)

    def to_html(self, alt: str) -> str:
        """The figure as an element of HTML, inlined.

        Args:
            alt: description for readers who do not see it.
        """
        encoded = base64.b64encode(self.to_png()).decode()
        return f'<img alt="{escape(alt)}" src="data:image/png;base64,{encoded}">'

    _repr_png_ = to_png
