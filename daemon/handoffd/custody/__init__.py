"""Floor 1, synchronous: the custody engine over a filesystem port and a clock handed in. No network, no asyncio."""
