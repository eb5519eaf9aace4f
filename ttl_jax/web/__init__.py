"""Web servers: a page and an interface that restore photographs; the user study."""
