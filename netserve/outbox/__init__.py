"""The durable queue: model, store, schedule, agent."""
