"""Takes packets apart: link layers, IP and its fragments, and TCP reassembled into streams."""
