"""Measurements: what `python3 dev.py bench` runs."""
