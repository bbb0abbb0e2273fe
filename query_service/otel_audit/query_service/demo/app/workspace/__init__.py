"""Roles, settings, keys, integrations and background work of an organization."""
