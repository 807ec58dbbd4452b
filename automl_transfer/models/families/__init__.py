"""Layer groups of the known families of networks."""
