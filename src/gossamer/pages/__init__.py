"""Self-contained HTML pages and static pictures of results: altair charts, everything they need inside one file."""
