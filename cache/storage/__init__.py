"""Where bytes lie, and how a write stays whole: paths, byte ranges, atomic writes, locks."""
