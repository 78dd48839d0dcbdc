"""`python -m pycontain`: the command line."""

from __future__ import annotations

import sys

from pycontain.cli import main

sys.exit(main())
