"""Pictures of data sets and folders as batches."""
