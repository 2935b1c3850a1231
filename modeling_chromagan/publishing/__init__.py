"""What leaves this package: a model as a file for other programs, as a repository on the Hub, as pages that run it."""
