"""The settings of every command, as frozen dataclasses; imports neither torch nor numpy."""
