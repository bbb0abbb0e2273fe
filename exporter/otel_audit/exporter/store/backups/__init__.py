"""Whole copies of a region root while it is served, and the way back."""
