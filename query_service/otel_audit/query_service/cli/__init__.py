"""The command line; one module a command, loaded by `main` when it is used."""
