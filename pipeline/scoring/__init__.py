"""Counts, scores, intervals and paired tests."""
