"""What a training will need of a machine, before it is begun."""
