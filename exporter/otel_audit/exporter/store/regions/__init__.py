"""Region roots: routing, residency, hand-over and removal of a tenant."""
