"""`python -m lineament`."""

import sys

from lineament.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
