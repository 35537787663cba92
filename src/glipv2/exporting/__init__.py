"""`glipv2 export`: graphs for other runtimes, whose vocabulary can still change."""
