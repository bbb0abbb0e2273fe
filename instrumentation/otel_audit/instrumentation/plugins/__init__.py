"""One small module a framework."""
