"""Published sets: reading, checking and writing them; protocols; audits."""
