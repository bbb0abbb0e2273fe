"""Rows on their way in: the one writer, its frames, hot rows, and what other processes hand over."""
