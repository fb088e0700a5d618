"""The painted ground of a result: four motifs in colours taken from the references, or from the prompt alone.

Everything is painted small and enlarged once, which is quick and gives soft edges.
"""

from __future__ import annotations

import colorsys
import math
import random

from PIL import Image, ImageChops, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
Palette = tuple[Colour, ...]

_SAMPLE_PIXELS = 48
_SMOOTHING = 2
"""Painted so many times larger and reduced, because drawn edges have steps."""
_LIGHTNESS = (0.15, 0.33, 0.51, 0.7, 0.89)
_PALETTES: tuple[Palette, ...] = (
    ((28, 32, 56), (86, 60, 102), (190, 92, 96), (240, 158, 112), (252, 226, 190)),  # dusk
    ((16, 42, 56), (24, 90, 104), (84, 150, 148), (176, 205, 186), (244, 236, 214)),  # sea
    ((26, 40, 36), (58, 84, 66), (128, 146, 94), (214, 190, 130), (246, 234, 208)),  # forest
    ((48, 30, 34), (122, 58, 52), (196, 104, 72), (230, 170, 122), (250, 232, 208)),  # clay
    ((18, 24, 48), (44, 62, 112), (98, 116, 176), (182, 176, 212), (246, 232, 228)),  # night
    ((40, 24, 44), (104, 48, 86), (182, 86, 112), (232, 150, 138), (250, 222, 204)),  # plum
    ((30, 38, 46), (76, 92, 106), (140, 158, 166), (206, 206, 196), (246, 240, 228)),  # north
    ((20, 46, 50), (44, 104, 98), (114, 170, 146), (222, 206, 140), (250, 240, 212)),  # mint
)


def palette_from_pictures(pictures: list[Image.Image]) -> Palette:
    """Return five colours of the pictures, dark to light: their hues, muted, at evenly spaced lightness."""
    sheet = Image.new("RGB", (_SAMPLE_PIXELS * len(pictures), _SAMPLE_PIXELS))
    for place, picture in enumerate(pictures):
        sheet.paste(picture.resize((_SAMPLE_PIXELS, _SAMPLE_PIXELS)), (place * _SAMPLE_PIXELS, 0))
    table = sheet.quantize(len(_LIGHTNESS), Image.Quantize.MEDIANCUT).getpalette() or [96, 110, 130]
    found = [_colour(table[at : at + 3]) for at in range(0, len(table) - 2, 3)][: len(_LIGHTNESS)]
    ordered = sorted(found, key=_luminance)
    spread = [ordered[place * len(ordered) // len(_LIGHTNESS)] for place in range(len(_LIGHTNESS))]
    return tuple(_at_lightness(colour, lightness) for colour, lightness in zip(spread, _LIGHTNESS, strict=True))


def palette_from_words(dice: random.Random) -> Palette:
    """Return five colours that go together, dark to light."""
    return dice.choice(_PALETTES)


def paint(size: tuple[int, int], palette: Palette, dice: random.Random, motif: int) -> Image.Image:
    """Paint a ground of this size; `motif` picks one of four compositions."""
    large = (size[0] * _SMOOTHING, size[1] * _SMOOTHING)
    light = _gradient(large, palette[4], palette[3], dice.choice((0, 90, 180)))
    painted = (_dunes, _orbits, _ribbons, _quilt)[motif % 4](light, palette, dice)
    return ImageChops.multiply(painted.reduce(_SMOOTHING), _vignette(size))


def _dunes(ground: Image.Image, palette: Palette, dice: random.Random) -> Image.Image:
    width, height = ground.size
    radius = min(width, height) * dice.uniform(0.13, 0.2)
    centre = (width * dice.uniform(0.3, 0.8), height * dice.uniform(0.2, 0.36))
    # The glow is blurred small: at this width nobody sees the difference, and it costs a hundredth.
    small = (max(1, width // 8), max(1, height // 8))
    glow = Image.new("L", small, 0)
    ImageDraw.Draw(glow).ellipse(_circle((centre[0] / 8, centre[1] / 8), radius * 0.2), fill=190)
    glow = glow.filter(ImageFilter.GaussianBlur(radius * 0.07)).resize(ground.size, Image.Resampling.BICUBIC)
    sun = _mix(palette[4], (255, 250, 238), 0.6)
    ground.paste(sun, mask=glow)
    draw = ImageDraw.Draw(ground)
    draw.ellipse(_circle(centre, radius), fill=sun)
    layers = 6
    for layer in range(layers):
        depth = layer / (layers - 1)
        base = height * (0.42 + 0.1 * layer + dice.uniform(-0.02, 0.02))
        swell, length, phase = height * dice.uniform(0.03, 0.08), dice.uniform(0.6, 1.5), dice.uniform(0, math.tau)
        crest = [
            (
                x,
                base
                - swell * math.sin(phase + math.tau * length * x / width)
                - swell * 0.4 * math.sin(3.1 * x / width),
            )
            for x in range(0, width + 8, 8)
        ]
        draw.polygon([(0, height), *crest, (width + 8, height)], fill=_tone(palette, 0.72 * (1 - depth)))
    return ground


def _orbits(ground: Image.Image, palette: Palette, dice: random.Random) -> Image.Image:
    width, height = ground.size
    centre = (width * dice.choice((0.12, 0.5, 0.88)), height * dice.uniform(0.18, 0.4))
    reach = math.hypot(width, height)
    draw = ImageDraw.Draw(ground)
    rings = 9
    for ring in range(rings):
        share = 1 - ring / rings
        draw.ellipse(_circle(centre, reach * 0.86 * share**1.25), fill=_tone(palette, 0.02 + 0.96 * ring / rings))
    for _ in range(6):
        angle, distance = dice.uniform(0, math.tau), reach * dice.uniform(0.16, 0.6)
        place = (centre[0] + distance * math.cos(angle), centre[1] + distance * math.sin(angle))
        draw.ellipse(_circle(place, reach * dice.uniform(0.008, 0.03)), fill=palette[dice.choice((3, 4))])
    return ground


def _ribbons(ground: Image.Image, palette: Palette, dice: random.Random) -> Image.Image:
    width, height = ground.size
    draw = ImageDraw.Draw(ground)
    bands, phase, length = 8, dice.uniform(0, math.tau), dice.uniform(0.5, 0.9)
    slope = dice.choice((-0.35, 0.3, 0.45)) * height
    for band in range(bands):
        start = height * (0.02 + band * 0.14) - slope / 2
        edge = []
        for x in range(0, width + 8, 8):
            along = x / width
            wave = math.sin(phase + math.tau * length * along + band * 0.28)
            edge.append((x, start + slope * along + height * 0.07 * wave))
        draw.polygon([(0, height), *edge, (width + 8, height)], fill=_tone(palette, 0.9 - 0.88 * band / (bands - 1)))
    return ground


def _quilt(ground: Image.Image, palette: Palette, dice: random.Random) -> Image.Image:
    width, height = ground.size
    cell = math.ceil(math.sqrt(width * height / 30))
    draw = ImageDraw.Draw(ground)
    for top in range(0, height, cell):
        for left in range(0, width, cell):
            back, front = dice.sample(palette, 2)
            draw.rectangle((left, top, left + cell, top + cell), fill=back)
            _patch(draw, (left, top), cell, front, dice.randrange(5))
    return ground


def _patch(draw: ImageDraw.ImageDraw, corner: tuple[int, int], cell: int, colour: Colour, kind: int) -> None:
    left, top = corner
    if kind == 0:
        draw.pieslice(_circle((left, top), cell), 0, 90, fill=colour)
    elif kind == 1:
        draw.pieslice(_circle((left + cell, top + cell), cell), 180, 270, fill=colour)
    elif kind == 2:  # noqa: PLR2004 - one of five kinds
        draw.ellipse(_circle((left + cell / 2, top + cell / 2), cell * 0.32), fill=colour)
    elif kind == 3:  # noqa: PLR2004 - the same
        draw.polygon(((left, top + cell), (left + cell, top + cell), (left + cell, top)), fill=colour)


def _gradient(size: tuple[int, int], first: Colour, last: Colour, turn: int) -> Image.Image:
    ramp = Image.linear_gradient("L").rotate(turn).resize(size, Image.Resampling.BICUBIC)
    return Image.composite(Image.new("RGB", size, last), Image.new("RGB", size, first), ramp)


def _vignette(size: tuple[int, int]) -> Image.Image:
    """Light that falls off towards the corners, a little."""
    falloff = Image.radial_gradient("L").point(lambda value: 255 - max(0, value - 90) // 4)
    return falloff.resize(size, Image.Resampling.BICUBIC).convert("RGB")


def _circle(centre: tuple[float, float], radius: float) -> tuple[float, float, float, float]:
    return centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius


def _tone(palette: Palette, share: float) -> Colour:
    """Return the colour at a share of the way from the darkest to the lightest."""
    at = max(0.0, min(1.0, share)) * (len(palette) - 1)
    low = min(int(at), len(palette) - 2)
    return _mix(palette[low], palette[low + 1], at - low)


def _mix(first: Colour, second: Colour, share: float) -> Colour:
    return _colour([round(one + (other - one) * share) for one, other in zip(first, second, strict=True)])


def _luminance(colour: Colour) -> float:
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def _at_lightness(colour: Colour, lightness: float) -> Colour:
    hue, _, saturation = colorsys.rgb_to_hls(*(value / 255 for value in colour))
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, min(0.52, saturation * 0.8))
    return _colour([round(value * 255) for value in (red, green, blue)])


def _colour(values: list[int]) -> Colour:
    red, green, blue = values
    return red, green, blue
