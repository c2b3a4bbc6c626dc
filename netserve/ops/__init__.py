"""What operators see: status port, metrics, logs, control socket."""
