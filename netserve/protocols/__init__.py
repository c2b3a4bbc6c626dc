"""The built-in protocols, a folder each: settings, pure logic, service."""
