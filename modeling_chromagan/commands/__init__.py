"""Commands of the command line `chromagan`."""
