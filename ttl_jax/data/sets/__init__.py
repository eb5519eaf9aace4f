"""Published sets: finding, checking and writing them; protocols; audits."""
