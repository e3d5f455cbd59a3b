"""The process around a command: its preparation, device, progress, signals, error messages, folders."""
