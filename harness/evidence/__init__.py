"""Statistics of results: metrics of test logits, joint sign-flip tests of paired differences, interim looks.

Imports only NumPy and SciPy.
"""
