"""Artifacts of finished runs (weights, predictions, figures), and what is made from them."""
