"""The model as a service: HTTP for any client, JSON lines for desktop apps (docs/server.md)."""
