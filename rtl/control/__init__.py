"""Control of the core: dispatch, instruction queues, tokens, counters, and the registers the host sees."""
