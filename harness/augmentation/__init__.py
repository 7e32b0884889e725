"""Training images on their way to a network: batches, transforms, normalisation."""
