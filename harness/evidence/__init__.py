"""What differences paired by seed show: joint sign flips, and looks that are paid for. Knows NumPy and SciPy alone."""
