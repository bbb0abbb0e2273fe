"""Quire: a small document question-answering product, audited as any other app would be."""
