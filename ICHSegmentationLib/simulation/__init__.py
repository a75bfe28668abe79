"""Label map in, head CT with a perfectly known bleed out: anatomy, tissue, hemorrhage, scanner, and the case."""
