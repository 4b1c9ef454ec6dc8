"""The panel: hub, pages, JSON, access, and a real browser."""
