"""What results show: metrics of logits, joint sign flips of differences paired by seed, and looks that are paid for.

Knows NumPy and SciPy alone.
"""
