"""What all commands share: command line, progress, resume, device, seeds."""
