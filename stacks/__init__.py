"""The stack files, and the parser that makes component arguments of them."""
