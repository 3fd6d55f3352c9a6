"""Public tables of training runs, read from where the reader has cloned them, and fitted as our own runs are."""
