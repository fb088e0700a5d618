"""Picture files for the tests, and what the nodes make of them."""

from __future__ import annotations

import io
import struct
import threading
import zlib
from typing import Any

import numpy as np
import torch
from PIL import Image
from weshop_pack.nodes import images

Array = np.ndarray[Any, Any]


def decoded(data: bytes, stop: threading.Event | None = None) -> Array:
    """The only picture of a batch [H,W,3]."""
    batch = images.PictureBatch(1, "error", stop=stop)
    batch.add(0, data)
    pictures = batch.finish()
    assert pictures.images.dtype == torch.float32
    return np.asarray(pictures.images[0])


def file_of(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def shown(levels: Array, full: int = 255) -> Array:
    """The values that whole numbers stand for: each divided in float32."""
    values: Array = levels.astype(np.float32) / np.float32(full)
    return values


def some_levels(height: int, width: int, channels: int, full: int = 255) -> Array:
    kind = np.uint8 if full == 255 else np.uint16
    return np.random.default_rng(1).integers(0, full + 1, (height, width, channels)).astype(kind)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
