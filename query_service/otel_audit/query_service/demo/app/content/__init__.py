"""Files, sources, QA pairs, and answers drawn from them."""
