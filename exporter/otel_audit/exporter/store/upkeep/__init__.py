"""What rearranges and removes: sealing, compaction, retention, scrubbing."""
