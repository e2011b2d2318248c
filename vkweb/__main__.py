#!/usr/bin/env python3
"""The entry point: `vkweb`, `python -m vkweb`, or this file run by its path."""

import sys
from pathlib import Path

if not __package__:
    # Run by its path: the import path then starts with this folder, whose modules are not top-level modules.
    _here = Path(__file__).resolve().parent
    sys.path[:] = [str(_here.parent), *(entry for entry in sys.path if entry != str(_here))]

from vkweb.cli import main

if __name__ == "__main__":
    main()
