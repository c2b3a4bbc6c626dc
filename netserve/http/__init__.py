"""The shared HTTP client: pools, address guard, bounded decompression."""
