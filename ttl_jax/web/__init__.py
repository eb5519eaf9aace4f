"""Web servers: a page and an HTTP interface that restore photographs; the user study."""
