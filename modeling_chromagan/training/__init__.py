"""Training of the models one level above, which import nothing from here."""
