"""Runs, one and many: how they begin, go on, end, and what is checked before."""
