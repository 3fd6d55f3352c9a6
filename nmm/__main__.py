"""`python -m nmm`: every command of the lab."""

import sys

from nmm.cli import main

if __name__ == "__main__":
    sys.exit(main())
