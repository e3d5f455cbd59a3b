"""Overlap, surfaces, instances, calibration, uncertainty, selection."""
