"""Start of the command line; a Ctrl-C gives one line even while modules are being imported."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    try:
        from .cli import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted before the command began: repeat it\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
