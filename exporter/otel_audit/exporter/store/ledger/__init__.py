"""The manifest: what is stored, as a chain of entries that nobody can change unseen."""
