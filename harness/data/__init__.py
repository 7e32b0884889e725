"""Images as uint8 arrays: decoded once, kept in a cache, memory-mapped."""
