"""One half of the package: the same names with and without `async`. See docs/decisions/0047."""
