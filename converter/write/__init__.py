"""Target models written as source."""
