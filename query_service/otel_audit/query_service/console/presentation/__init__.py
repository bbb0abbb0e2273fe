"""Turns events and counts into what the templates show. Pure functions: no requests, no queries."""
