"""Opens photographs and pairs by the name of their source."""
