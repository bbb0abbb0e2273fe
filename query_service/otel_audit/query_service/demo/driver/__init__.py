"""People who use Quire over HTTP, well and badly."""
