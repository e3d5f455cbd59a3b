"""Starts the command line: a Ctrl-C is answered in one line even while its modules are loaded."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    try:
        from .cli import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted before anything began: repeat the command\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
