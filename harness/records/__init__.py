"""What happened: events, journals, checkpoints, and runs as they were recorded."""
