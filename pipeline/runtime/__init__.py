"""The process around a command: device, allocator, progress, signals, error messages, folders."""
