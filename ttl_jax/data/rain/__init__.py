"""Rain rendered on photographs, and streaks taken from pairs."""
