"""Readers of other tools' exports: each returns `Annotations`."""
