"""The library from the terminal: ``python3 -m weshop_api generate | runs | fetch | forget | doctor``."""

from __future__ import annotations

import sys

from .commands import main

sys.exit(main())
