"""Make the corpus again: `python3 -m tests.fuzz.make_corpus`. Files for the fuzzers to begin with, hostile and sound.

Everything is small and drawn here; nothing comes from elsewhere. `pictures/` holds what a file server may send,
`replies/` what the service may answer, `addresses/` what a workflow or a reply may name.
"""

from __future__ import annotations

import io
import json
import struct
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageCms

FOLDER = Path(__file__).parent / "corpus"
EXECUTION_ID = "65f0c0ffee0000000000abcd"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR_RGB, COLOUR_GREY, COLOUR_PALETTE = 2, 0, 3


def drawing(mode: str = "RGB", size: tuple[int, int] = (24, 16)) -> Image.Image:
    """Return a small gradient, so that files are no runs of one byte."""
    gradient = Image.linear_gradient("L").resize(size)
    colours = Image.merge("RGB", (gradient, gradient.rotate(90), gradient.rotate(180)))
    return colours.convert(mode) if mode != "I;16" else gradient.convert("I").convert("I;16")


def packed(image: Image.Image, kind: str, **options: object) -> bytes:
    """Return a file of this format."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name: bytes, data: bytes, *, crc: int | None = None) -> bytes:
    """Return a chunk of a PNG, with a false checksum on demand."""
    true_crc = zlib.crc32(name + data)
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", true_crc if crc is None else crc)


def png(  # noqa: PLR0913 - the fields of the header; keyword only
    width: int, height: int, rows: bytes, *, depth: int = 8, colour: int = COLOUR_RGB, between: bytes = b""
) -> bytes:
    """Return a PNG that claims a size, whatever its rows hold."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return PNG_SIGNATURE + head + between + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def sound_pictures() -> dict[str, bytes]:
    """What has to be decoded."""
    frames = [drawing(size=(16, 16)).rotate(angle) for angle in (0, 90, 180)]
    exif = Image.Exif()
    exif[0x0112] = 6
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    rows_16 = b"".join(b"\x00" + bytes(range(48)) for _ in range(8))
    return {
        "rgb.png": packed(drawing(), "PNG"),
        "grey.png": packed(drawing("L"), "PNG"),
        "one-bit.png": packed(drawing("1"), "PNG"),
        "palette.png": packed(drawing("P"), "PNG"),
        "alpha.png": packed(drawing("RGBA"), "PNG"),
        "grey-alpha.png": packed(drawing("LA"), "PNG"),
        "16-bit-grey.png": packed(drawing("I;16"), "PNG"),
        "16-bit-rgb.png": png(8, 8, rows_16, depth=16),
        "colour-that-is-transparent.png": packed(drawing(), "PNG", transparency=(0, 0, 0)),
        "one-pixel.png": packed(drawing(size=(1, 1)), "PNG"),
        "with-profile.png": packed(drawing(), "PNG", icc_profile=srgb),
        "rgb.jpg": packed(drawing(), "JPEG"),
        "grey.jpg": packed(drawing("L"), "JPEG"),
        "progressive.jpg": packed(drawing(), "JPEG", progressive=True),
        "cmyk.jpg": packed(drawing("CMYK"), "JPEG"),
        "turned.jpg": packed(drawing(), "JPEG", exif=exif),
        "lossy.webp": packed(drawing(), "WEBP"),
        "lossless-alpha.webp": packed(drawing("RGBA"), "WEBP", lossless=True),
        "animated.webp": packed(frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=50),
        "animated.png": packed(frames[0], "PNG", save_all=True, append_images=frames[1:], duration=50),
        "animated.gif": packed(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50),
        "rgb.bmp": packed(drawing(), "BMP"),
        "too-few-rows.png": png(32, 32, bytes(33 * 5), colour=COLOUR_GREY),
        # Sound to a decoder, whatever else it may be to another program.
        "page-behind-picture.png": packed(drawing(), "PNG") + b"<html><script>alert(1)</script></html>",
        "archive-behind-picture.jpg": packed(drawing(), "JPEG") + b"PK\x05\x06" + bytes(18),
        "broken-profile.png": packed(drawing(), "PNG", icc_profile=b"no profile at all"),
        "cut-profile.jpg": packed(drawing(), "JPEG", icc_profile=srgb[:200]),
        "broken-exif.jpg": packed(drawing(), "JPEG", exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff" + bytes(40)),
        "exif-that-leads-to-itself.jpg": packed(
            drawing(),
            "JPEG",
            exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x87i\x00\x04\x00\x00\x00\x01" + b"\x00\x00\x00\x08" * 4,
        ),
    }


def hostile_pictures() -> dict[str, bytes]:
    """What has to be refused."""
    whole_png, whole_jpeg = packed(drawing(), "PNG"), packed(drawing(), "JPEG")
    whole_webp, whole_gif = packed(drawing(), "WEBP"), packed(drawing("P"), "GIF")
    text_bomb = chunk(b"zTXt", b"Comment\x00\x00" + zlib.compress(bytes(80_000_000), 9)[:60_000])
    jpeg_size = whole_jpeg.index(b"\xff\xc0") + 5
    return {
        "empty.png": b"",
        "cut.png": whole_png[:-40],
        "cut-in-head.png": whole_png[:20],
        "cut.jpg": whole_jpeg[: len(whole_jpeg) // 2],
        "cut.webp": whole_webp[: len(whole_webp) // 2],
        "cut.gif": whole_gif[:30],
        "zero-wide.png": png(0, 16, b"\x00" * 16),
        "zero-high.png": png(16, 0, b""),
        "zero-by-zero.jpg": whole_jpeg[:jpeg_size] + bytes(4) + whole_jpeg[jpeg_size + 4 :],
        "bomb-by-claim.png": png(60_000, 60_000, bytes(1000)),
        "bomb-by-claim.jpg": whole_jpeg[:jpeg_size] + b"\xff\xff\xff\xff" + whole_jpeg[jpeg_size + 4 :],
        "bomb-one-bit.png": png(20_000, 20_000, bytes(2_501 * 20), depth=1, colour=COLOUR_GREY),
        "bomb-in-text.png": whole_png[:33] + text_bomb + whole_png[33:],
        "two-billion-wide.png": png(2**31 - 1, 1, bytes(100)),
        "false-checksum.png": whole_png[:8] + chunk(b"IHDR", whole_png[16:29], crc=1) + whole_png[33:],
        "palette-without-colours.png": png(8, 8, (b"\x00" + bytes(8)) * 8, colour=COLOUR_PALETTE)[:-30],
        "page.png": b"<!doctype html><html><body>Sign in to continue</body></html>",
        "page-before-picture.png": b"<html>" + whole_png,
        "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "script.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(/etc/passwd) (r) file pop\n",
        "picture.tiff": packed(drawing(), "TIFF"),
        "icon.ico": packed(drawing(size=(16, 16)), "ICO"),
        "document.pdf": packed(drawing(), "PDF")[:400],
        "archive.zip": b"PK\x03\x04" + bytes(60),
        "noise.bin": bytes(range(256)) * 2,
        "signature-only.png": PNG_SIGNATURE,
        "endless-chunks.png": PNG_SIGNATURE + chunk(b"tEXt", b"a\x00b") * 300,
    }


def envelope(data: object, *, success: bool = True, **more: object) -> bytes:
    """Return an answer of the service."""
    return json.dumps({"success": success, "data": data, **more}).encode()


def run(*results: object, status: str = "Success") -> bytes:
    """Return the answer to a poll."""
    return envelope({"executions": [{"executionId": EXECUTION_ID, "status": status, "result": list(results)}]})


def replies() -> dict[str, bytes]:
    """Answers for all readers; the fuzzer's first two bytes, which choose reader and status, are put in front."""
    bodies = {
        "upload": envelope({"image": "https://files.example/a.png"}),
        "submission": envelope(
            {"executionId": EXECUTION_ID, "powerConsumption": 10}, meta={"executionId": EXECUTION_ID}
        ),
        "finished": run({"status": "Success", "image": "https://files.example/1.png"}, {"status": "Failed"}),
        "pending": run(status="Pending"),
        "script-as-picture": run({"status": "Success", "image": "javascript:alert(1)"}),
        "file-as-picture": run({"status": "Success", "image": "file:///etc/passwd"}),
        "estimate": envelope({"totalPower": 40, "paidPowerNotEnough": False}),
        "error": envelope(None, success=False, error={"code": "40001", "message": "wrong key", "retryable": False}),
        "legacy-error": b'{"success": false, "code": 40005, "msg": "too many"}',
        "control-characters": envelope(None, success=False, error={"message": "a\u0000b\u001b[2J\u202ec\u2028d"}),
        "sign-in": envelope(
            None, success=False, error={"message": "Unauthorized: Please login first to use this node."}
        ),
        "deep": b'{"success":true,"data":' + b"[" * 3000 + b"]" * 3000 + b"}",
        "huge-number": b'{"success": true, "data": {"totalPower": ' + b"9" * 3000 + b"}}",
        "not-a-number": b'{"success": true, "data": {"totalPower": NaN, "executions": [{"status": Infinity}]}}',
        "half-a-pair": b'{"success": false, "msg": "\\ud800 half"}',
        "twice": b'{"success": true, "success": false, "data": {}}',
        "list": b"[]",
        "nothing": b"",
        "page": b"<html><title>502 Bad Gateway</title></html>",
        "utf-16": '{"success": true}'.encode("utf-16"),
        "not-utf-8": b'{"success": false, "msg": "\xff\xfe"}',
    }
    return {
        f"{name}.bin": bytes([number % 5, number % 14]) + body for number, (name, body) in enumerate(bodies.items())
    }


def addresses() -> dict[str, bytes]:
    """URLs, public and private, plain and tricky, one a file."""
    urls = [
        *("https://files.example/a.png?x=1#y", "https://FILES.example:443/", "https://b\u00fccher.example/\u00e4"),
        *(
            "http://files.example/",
            "ftp://files.example/",
            "javascript:alert(1)",
            "file:///etc/passwd",
            "//files.example/",
        ),
        *("https://user:word@files.example/", "https://files.example@127.0.0.1/", "https://127.0.0.1\\@files.example/"),
        *("https://127.1/", "https://2130706433/", "https://0x7f.0.0.1/", "https://0177.0.0.1/", "https://[::1]/"),
        *("https://[::ffff:169.254.169.254]/", "https://[64:ff9b::7f00:1]/", "https://[fe80::1%25eth0]/"),
        *("https://169.254.169.254/latest/", "https://10.0.0.1/", "https://metadata.internal/", "https://localhost./"),
        *("https://\u2460\u2461\u2466.0.0.1/", "https://\uff11\uff12\uff17.0.0.1/", "https://files.example:99999/"),
        *("https://files.example:0/", "https:///a", "https://a b/", "https://a\tb/", "https://[::1", "https://xn--/"),
    ]
    return {f"{number:02}.txt": url.encode() for number, url in enumerate(urls)}


def main() -> int:
    """Write everything."""
    kinds: Mapping[str, Mapping[str, bytes]] = {
        "pictures/sound": sound_pictures(),
        "pictures/hostile": hostile_pictures(),
        "replies": replies(),
        "addresses": addresses(),
    }
    for kind, files in kinds.items():
        folder = FOLDER / kind
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
