"""Prepare training images for a network: order, batches, transforms and normalisation."""
