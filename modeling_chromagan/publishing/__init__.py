"""What leaves this package: files of a model for other programs, and for the Hub."""
