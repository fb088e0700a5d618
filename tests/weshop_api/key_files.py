"""Key files for tests."""

from __future__ import annotations

from pathlib import Path

from weshop_api.credentials import KEY_FILE

KEY = "test-key-not-real-0123"


def key_file(home: Path) -> Path:
    """Where the file belongs; its folder is there."""
    path = home / KEY_FILE
    path.parent.mkdir(parents=True)
    return path


def write_key_file(home: Path, content: str | bytes, mode: int = 0o600) -> Path:
    """Write the file as it is."""
    path = key_file(home)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path
