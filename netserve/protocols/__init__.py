"""The built-in protocols, a folder each: settings, logic, service."""
