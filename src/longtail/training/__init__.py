"""Run one configuration: stages, epochs, checkpoints, the run folder, several processes; and use a finished run."""
