"""Sealed bytes: blobs, Parquet files, their sidecars and the check before each use."""
