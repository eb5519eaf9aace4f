"""The analysis of real and synthetic rain (Fig. 2)."""
