"""People, passwords, second factors, sessions, and the ways to sign in."""
