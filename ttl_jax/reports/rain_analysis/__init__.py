"""What kinds of rain a set of photographs holds."""
