"""The clusters of the engines that have an established operator, one module each."""
