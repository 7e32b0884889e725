"""What is recorded of a run: events, the journal, checkpoints, locks, and the finished record."""
