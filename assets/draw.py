"""Draw the pack's icon and banner: `python3 assets/draw.py` (needs Pillow) writes both files beside this one."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

FOLDER = Path(__file__).resolve().parent
ICON_SIZE = (400, 400)
BANNER_SIZE = (1680, 720)  # 21:9, as the registry wants it.
OVERSAMPLING = 4

Colour = tuple[int, int, int]

NIGHT: Colour = (11, 28, 48)
SEA: Colour = (22, 92, 104)
LIGHT: Colour = (255, 214, 140)
CORAL: Colour = (240, 106, 92)
WHITE: Colour = (247, 250, 250)


def gradient(size: tuple[int, int], top: Colour, bottom: Colour) -> Image.Image:
    """A picture that goes from one colour to another, from top to bottom."""
    ramp = Image.linear_gradient("L").resize(size)
    return Image.composite(Image.new("RGB", size, bottom), Image.new("RGB", size, top), ramp)


def seed_shape(size: tuple[int, int], centre: tuple[float, float], height: float) -> Image.Image:
    """A mask of a seed standing upright: what two discs of the same size have in common."""
    radius, shift = height * 0.625, height * 0.375
    x, y = centre
    discs = []
    for sign in (-1, 1):
        disc = Image.new("L", size)
        ImageDraw.Draw(disc).circle((x + sign * shift, y), radius, fill=255)
        discs.append(disc)
    return ImageChops.multiply(*discs)


def draw_mark(picture: Image.Image, centre: tuple[float, float], height: float) -> None:
    """Draw a glowing seed over water onto the picture."""
    x, y = centre
    waterline = y + height * 0.46
    for number, (half_width, strength) in enumerate(((0.34, 170), (0.56, 110), (0.78, 60))):
        ripples = Image.new("L", picture.size)
        across, down = height * half_width, height * 0.05 * (number + 1)
        box = (x - across, waterline - down, x + across, waterline + down)
        ImageDraw.Draw(ripples).ellipse(box, outline=strength, width=max(1, round(height * 0.012)))
        picture.paste(Image.new("RGB", picture.size, LIGHT), mask=ripples)
    seed = seed_shape(picture.size, (x, y - height * 0.06), height * 0.9)
    glow = seed.filter(ImageFilter.GaussianBlur(height * 0.11)).point(lambda value: value * 0.45)
    picture.paste(Image.new("RGB", picture.size, LIGHT), mask=glow)
    picture.paste(gradient(picture.size, LIGHT, CORAL), mask=seed)
    right_half = Image.new("L", picture.size)
    ImageDraw.Draw(right_half).rectangle((x, 0, picture.width, picture.height), fill=70)
    picture.paste(Image.new("RGB", picture.size, CORAL), mask=ImageChops.multiply(seed, right_half))


def icon() -> Image.Image:
    """The mark in a square with round corners."""
    size = (ICON_SIZE[0] * OVERSAMPLING, ICON_SIZE[1] * OVERSAMPLING)
    picture = gradient(size, NIGHT, SEA)
    draw_mark(picture, (size[0] / 2, size[1] * 0.5), size[1] * 0.62)
    corners = Image.new("L", size)
    ImageDraw.Draw(corners).rounded_rectangle((0, 0, size[0] - 1, size[1] - 1), size[0] * 0.18, fill=255)
    picture.putalpha(corners)
    return picture.resize(ICON_SIZE, Image.Resampling.LANCZOS)


def banner() -> Image.Image:
    """The mark beside the name."""
    size = (BANNER_SIZE[0] * OVERSAMPLING // 2, BANNER_SIZE[1] * OVERSAMPLING // 2)
    picture = gradient(size, NIGHT, SEA)
    draw_mark(picture, (size[0] * 0.22, size[1] * 0.5), size[1] * 0.58)
    draw = ImageDraw.Draw(picture)
    left = size[0] * 0.41
    draw.text((left, size[1] * 0.46), "WeShop Seedream", WHITE, ImageFont.load_default(size[1] * 0.135), anchor="ls")
    line = "Seedream 5.0 nodes for ComfyUI"
    draw.text((left, size[1] * 0.60), line, LIGHT, ImageFont.load_default(size[1] * 0.062), anchor="ls")
    return picture.resize(BANNER_SIZE, Image.Resampling.LANCZOS)


if __name__ == "__main__":
    icon().save(FOLDER / "icon.png", optimize=True)
    banner().save(FOLDER / "banner.png", optimize=True)
