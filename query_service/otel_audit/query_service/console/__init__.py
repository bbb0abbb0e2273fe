"""The console: server-rendered pages for people. docs/console.md describes them."""
