"""The stack files, and the parser that creates the arguments of the components from them."""
