"""What came of the claims' sweeps: rows of numbers, differences between arms, the page."""
