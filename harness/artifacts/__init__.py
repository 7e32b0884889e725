"""What a finished run leaves: weights, predictions, figures."""
