"""Plain image formats beside PNG and JPEG."""
