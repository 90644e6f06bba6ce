"""``python -m freightrisk`` is the command ``freightrisk``."""

import sys

from freightrisk.cli import main

if __name__ == "__main__":
    sys.exit(main())
