"""One file a question. Each holds `EXPERIMENT`, a value: nothing here runs anything."""
