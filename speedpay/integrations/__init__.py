"""Our client inside programs that people already run; one package for each of them."""
