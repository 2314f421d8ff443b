"""Models captured into the graph."""
