"""What is read from a folder, the Hub or an installed package."""
