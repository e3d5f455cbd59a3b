"""The bytes of a cache: spec, sample table, layout, shards, manifest, digests."""
