"""Histology-like tissue, painted: stroma, gaps, red blood cells and two kinds of nuclei, and the kind of each pixel.

A slide is painted in stain concentrations (haematoxylin for nuclei, eosin for the rest) and becomes RGB by Beer and
Lambert's law, white * exp(-optical density). Lengths are in pixels of an image of `REFERENCE_SIZE` and scale with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageFilter

from .sentences import OPPOSITE, Half, NucleusKind

Plane = Float[np.ndarray, "y x"]
PixelMask = Bool[np.ndarray, "y x"]
Point = Float[np.ndarray, "2"]

REFERENCE_SIZE = 128

KIND_VALUES: dict[NucleusKind, int] = {"spindle": 1, "round": 2}
"""Values of a kind map; 0 is everything but nuclei."""

SHARE_OF_IMAGE = (0.105, 0.145)
"""Range of the share of an image that each kind covers: drawn for every image and kind."""

MIN_SHARE_OF_HALF = 0.03
"""Each kind covers at least this share of every half of an image, so that no mask by side is empty."""

HAEMATOXYLIN = (0.5626, 0.7201, 0.4062)
EOSIN = (0.2159, 0.8012, 0.5581)
"""Optical density of red, green and blue a unit of stain: the reference of Macenko et al., ISBI 2009."""


@dataclass(frozen=True)
class Appearance:
    """Appearance of the nuclei of one kind; a pair is the range that each nucleus draws from."""

    half_length_px: tuple[float, float]
    """Half the long axis."""
    aspect: tuple[float, float]
    """Short axis over long axis."""
    bend: float
    """Standard deviation of the tips' sideways bend, as a share of the half length."""
    tip: float
    """Exponent of the outline along the long axis: 2 is an ellipse, less is pointed."""
    lobes: float
    """Amplitude of the outline's irregularity, as a share of the radius."""
    haematoxylin: tuple[float, float]
    """Stain in the body."""
    eosin: float
    """Counterstain in the body: more is redder."""
    rim: float
    """Additional stain at the membrane."""
    chromatin: float
    """Amplitude of the chromatin's texture."""
    grain_px: float
    """Size of the chromatin's grains."""
    n_nucleoli: tuple[int, int]
    """Fewest and most nucleoli."""


APPEARANCES: dict[NucleusKind, Appearance] = {
    "spindle": Appearance((8.5, 12.0), (0.24, 0.34), 0.12, 1.7, 0.04, (1.25, 1.6), 0.15, 0.0, 0.10, 0.6, (0, 0)),
    "round": Appearance((6.5, 9.0), (0.82, 1.0), 0.0, 2.0, 0.06, (0.40, 0.60), 0.30, 0.55, 0.22, 1.2, (1, 2)),
}


@dataclass(frozen=True)
class Tissue:
    """One painted image and which of its pixels belong to which kind of nucleus."""

    image: UInt8[np.ndarray, "y x 3"]
    """RGB."""
    kinds: UInt8[np.ndarray, "y x"]
    """`KIND_VALUES`; where nuclei overlap, the one painted last owns the pixel."""

    def mask(self, kind: NucleusKind, side: Half | None = None) -> PixelMask:
        """The pixels of a kind, within a half of the image where `side` names one.

        The border between two halves cuts through nuclei: a pixel belongs to the half that its centre lies in.
        """
        pixels: PixelMask = self.kinds == KIND_VALUES[kind]
        return pixels & half(side, len(self.kinds)) if side else pixels


def half(side: Half, size: int) -> PixelMask:
    """The pixels of a square image whose centres lie in its `side` half."""
    y, x = np.indices((size, size)) + 0.5
    halves: dict[Half, PixelMask] = {
        "upper": y < size / 2,
        "lower": y > size / 2,
        "left": x < size / 2,
        "right": x > size / 2,
    }
    return halves[side]


def paint_tissue(rng: np.random.Generator, size: int) -> Tissue:
    """Paint one image of `size` x `size` pixels.

    Returns:
        Tissue in which each kind covers at least `MIN_SHARE_OF_HALF` of every half.
    """
    while True:
        slide = _Slide(rng, size)
        slide.add_stroma()
        slide.add_gaps()
        slide.add_red_cells()
        slide.add_nuclei()
        tissue = Tissue(slide.photograph(), slide.kinds)
        if _both_kinds_in_every_half(tissue):
            return tissue


def _both_kinds_in_every_half(tissue: Tissue) -> bool:
    needed = MIN_SHARE_OF_HALF * tissue.kinds.size / 2
    return all(tissue.mask(kind, side).sum() >= needed for kind in KIND_VALUES for side in OPPOSITE)


class _Slide:
    """A square of tissue while it is painted: the amount of each stain, and the kind, of every pixel."""

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        self.rng, self.size, self.scale = rng, size, size / REFERENCE_SIZE
        self.haematoxylin: Plane = np.zeros((size, size))
        self.eosin: Plane = np.zeros((size, size))
        self.kinds: UInt8[np.ndarray, "y x"] = np.zeros((size, size), np.uint8)
        self.blocked: PixelMask = np.zeros((size, size), bool)
        """Where no nucleus may lie: gaps and red cells."""
        self.course: float = rng.uniform(0, np.pi)
        self.fibres: Plane = self.course + 0.3 * self.noise(24)
        """The direction of the stroma's fibres in radians, which the nuclei follow."""
        self.chromatin: dict[NucleusKind, Plane] = {
            kind: self.noise(look.grain_px) for kind, look in APPEARANCES.items()
        }

    def noise(self, grain_px: float) -> Plane:
        """Gaussian noise of unit variance with grains of about `grain_px`; it continues across opposite borders."""
        frequency_y = np.fft.fftfreq(self.size)[:, None]
        frequency_x = np.fft.rfftfreq(self.size)[None]
        spread = 2 * (np.pi * grain_px * self.scale) ** 2
        white = np.fft.rfft2(self.rng.standard_normal((self.size, self.size)))
        blurred = white * np.exp(-spread * (frequency_y**2 + frequency_x**2))
        grains: Plane = np.fft.irfft2(blurred, s=(self.size, self.size))
        return (grains - grains.mean()) / grains.std()

    def add_stroma(self) -> None:
        """Wavy bundles of pink fibres over cloudy ground, with some bluish ground substance."""
        y, x = np.indices((self.size, self.size)) / self.scale
        across = y * np.cos(self.course) - x * np.sin(self.course) + 4 * self.noise(12)
        bundles = np.sin(2 * np.pi * across / self.rng.uniform(6, 10)) * self.noise(10)
        strands = np.sin(2 * np.pi * (across + self.noise(3)) / 3.1) * self.noise(6)
        self.eosin += 0.42 + 0.08 * self.noise(14) + 0.06 * bundles + 0.04 * strands + 0.03 * self.noise(1)
        self.haematoxylin += 0.12 + 0.05 * self.noise(9) + 0.03 * self.noise(1)

    def add_gaps(self) -> None:
        """White gaps: up to two wide ones, and thin clefts along the fibres."""
        for _ in range(self.rng.integers(0, 3)):
            self._gap(self.rng.uniform(6, 12), self.rng.uniform(0.4, 0.9))
        for _ in range(self.rng.integers(1, 4)):
            self._gap(self.rng.uniform(10, 18), self.rng.uniform(0.06, 0.12))

    def _gap(self, half_length_px: float, aspect: float) -> None:
        gap = self._outline(self.anywhere(), half_length_px, aspect, bend=0.2, lobes=0.12)
        left = 1 - 0.92 * gap.coverage(softness_px=1.2)
        self.eosin[gap.window] *= left
        self.haematoxylin[gap.window] *= left
        self.blocked[gap.window] |= gap.inside

    def add_red_cells(self) -> None:
        """A cluster of up to six red blood cells: bright, without a nucleus, paler in the middle."""
        middle = self.anywhere()
        for _ in range(self.rng.integers(0, 7)):
            centre = np.clip(middle + self.rng.normal(0, 5 * self.scale, 2), 0, self.size - 1)
            cell = self._outline(centre, self.rng.uniform(2.6, 3.4), self.rng.uniform(0.8, 1.0))
            coverage = cell.coverage(softness_px=0.8)
            stain = 0.75 + 0.3 * np.minimum(cell.radius, 1)
            self.eosin[cell.window] += coverage * (stain - self.eosin[cell.window])
            self.haematoxylin[cell.window] *= 1 - coverage
            self.blocked[cell.window] |= cell.inside

    def add_nuclei(self) -> None:
        """Nuclei, each of the kind that is further from its goal, until both have reached it."""
        goals = {kind: self.rng.uniform(*SHARE_OF_IMAGE) * self.size**2 for kind in KIND_VALUES}
        while True:
            missing = {kind: 1 - np.sum(self.kinds == KIND_VALUES[kind]) / goal for kind, goal in goals.items()}
            kind = max(missing, key=lambda name: missing[name])
            if missing[kind] <= 0:
                return
            self._add_nucleus(kind)

    def _add_nucleus(self, kind: NucleusKind, max_tries: int = 30) -> None:
        for _ in range(max_tries):
            nucleus = self._nucleus_outline(APPEARANCES[kind])
            covered = self.kinds[nucleus.window][nucleus.inside] > 0
            if covered.mean() < 0.2 and not self.blocked[nucleus.window][nucleus.inside].any():
                break
        self._stain(nucleus, kind)
        self.kinds[nucleus.window][nucleus.inside] = KIND_VALUES[kind]

    def _nucleus_outline(self, look: Appearance) -> _Outline:
        centre = self.anywhere()
        y, x = centre.astype(int)
        return self._outline(
            centre,
            self.rng.uniform(*look.half_length_px),
            self.rng.uniform(*look.aspect),
            angle=self.fibres[y, x] + self.rng.normal(0, 0.35),
            bend=self.rng.normal(0, look.bend),
            lobes=look.lobes,
            tip=look.tip,
        )

    def _stain(self, nucleus: _Outline, kind: NucleusKind) -> None:
        """Pour the nucleus's stain; an eighth of what lies below shows through."""
        look = APPEARANCES[kind]
        stain = self.rng.uniform(*look.haematoxylin) + look.chromatin * self.chromatin[kind][nucleus.window]
        stain += look.rim * np.exp(-(((nucleus.radius - 0.88) / 0.14) ** 2))
        for _ in range(self.rng.integers(*look.n_nucleoli, endpoint=True)):
            stain += 0.7 * nucleus.spot(*self.rng.uniform(-0.45, 0.45, 2))
        coverage = 0.88 * nucleus.coverage(softness_px=0.8)
        self.haematoxylin[nucleus.window] += coverage * (stain - self.haematoxylin[nucleus.window])
        self.eosin[nucleus.window] += coverage * (look.eosin - self.eosin[nucleus.window])

    def anywhere(self) -> Point:
        """A random point (y, x) of the slide."""
        return self.rng.uniform(0, self.size, 2)

    def _outline(self, centre: Point, half_length_px: float, aspect: float, **shape: float) -> _Outline:
        shape = {"angle": self.course + self.rng.normal(0, 0.3), **shape}
        phases = self.rng.uniform(0, 2 * np.pi, 2)
        return _Outline(self.size, centre, half_length_px * self.scale, aspect, phases=phases, **shape)

    def photograph(self) -> UInt8[np.ndarray, "y x 3"]:
        """The slide as RGB: this image's own stains and light, a slightly soft lens, a little sensor noise."""
        stains = np.array([HAEMATOXYLIN, EOSIN]) * self.rng.normal(1, 0.06, (2, 3)) * self.rng.uniform(0.8, 1.2, (2, 1))
        y, x = np.indices((self.size, self.size)) / self.size - 0.5
        tilt_y, tilt_x = self.rng.uniform(-0.2, 0.2, 2)
        thickness = 1 + tilt_y * y + tilt_x * x
        concentrations = np.stack([self.haematoxylin, self.eosin], axis=-1) * thickness[..., None]
        rgb = self.rng.uniform(238, 252) * np.exp(-np.maximum(concentrations, 0) @ stains)
        lens = ImageFilter.GaussianBlur(self.rng.uniform(0.3, 0.8) * self.scale)
        soft = np.asarray(Image.fromarray(rgb.astype(np.uint8)).filter(lens), dtype=float)
        return np.clip(np.rint(soft + self.rng.normal(0, 2.0, soft.shape)), 0, 255).astype(np.uint8)


class _Outline:
    """A rotated, bent and lobed ellipse within its bounding box, in pixels of the image itself."""

    def __init__(
        self,
        size: int,
        centre: Point,
        half_length: float,
        aspect: float,
        *,
        angle: float,
        phases: Point,
        bend: float = 0.0,
        lobes: float = 0.0,
        tip: float = 2.0,
    ) -> None:
        reach = 1.3 * half_length + 2
        low = np.maximum(centre - reach, 0).astype(int)
        high = np.minimum(centre + reach + 1, size).astype(int)
        self.window = (slice(low[0], high[0]), slice(low[1], high[1]))
        y = np.arange(low[0], high[0])[:, None] + 0.5 - centre[0]
        x = np.arange(low[1], high[1])[None] + 0.5 - centre[1]
        self.along = (x * np.cos(angle) + y * np.sin(angle)) / half_length
        straight = (y * np.cos(angle) - x * np.sin(angle)) / (half_length * aspect)
        self.across = straight - bend * self.along**2 / aspect
        azimuth = np.arctan2(self.across, self.along)
        wobble = 1 + lobes * np.cos(np.multiply.outer([2, 3], azimuth) + phases[:, None, None]).sum(axis=0)
        self.radius: Plane = np.sqrt(np.abs(self.along) ** tip + self.across**2) / wobble
        """0 in the centre, 1 on the outline."""
        self.inside: PixelMask = self.radius <= 1
        self._half_width = half_length * aspect

    def coverage(self, softness_px: float) -> Plane:
        """1 inside, 0 outside, 0.5 on the outline, with a ramp of about `softness_px`."""
        return np.clip(0.5 + (1 - self.radius) * self._half_width / softness_px, 0, 1)

    def spot(self, along: float, across: float) -> Plane:
        """A soft round spot of height 1 at a position given in half axes."""
        return np.exp(-((self.along - along) ** 2 + (self.across - across) ** 2) / 0.035)
