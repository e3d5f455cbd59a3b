"""A program that extracts and dies by SIGKILL."""

from __future__ import annotations

import textwrap
from pathlib import Path

from textdiff.pipeline.config.extraction import ExtractConfig


def script_of(config: ExtractConfig, tmp_path: Path) -> Path:
    """The program, which dies before it writes the shard that its argument names."""
    script = tmp_path / "killed.py"
    script.write_text(
        textwrap.dedent(f"""
            import os, signal, sys
            from pathlib import Path, PosixPath
            import torch
            torch.set_num_threads(1)
            from textdiff.cache.building import writer
            from textdiff.pipeline.config.extraction import ExtractConfig
            from textdiff.pipeline.extraction.extract import extract_features
            kill_at = sys.argv[1]
            write_shard = writer.write_shard
            def dying(root, path, rows, n):
                if path == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                return write_shard(root, path, rows, n)
            writer.write_shard = dying
            extract_features({config!r})
        """),
        encoding="utf-8",
    )
    return script
