"""What `nmm.training.run` is made of: the objective, the optimiser and its schedule, checkpoints, execution on one or many devices."""
