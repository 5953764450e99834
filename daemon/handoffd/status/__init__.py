"""What a host can tell of itself: typed values, and the judgements on them; no network, no clock of its own,
and of the disk it asks only how much room there is.

The daemon fills it from memory, the command line from the directories when the daemon is stopped, and every view
(`handoffd status`, /operator/status, the status page, /metrics) reads the same values (docs/cli.md).
"""
