"""The `netserve` command: one module a verb or group of verbs."""
