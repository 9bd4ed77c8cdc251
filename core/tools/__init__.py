"""Tools that the model can call: one function each, found by name of the file; importing this package loads none of them."""
