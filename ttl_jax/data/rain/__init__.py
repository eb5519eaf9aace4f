"""Rain drawn on photographs, as a camera sees it, and streaks cut from pairs."""
