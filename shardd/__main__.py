"""`python -m shardd`: the command line."""

from __future__ import annotations

import sys

from shardd.cli.main import main

if __name__ == "__main__":  # and not where everything is imported
    sys.exit(main())
