"""Power cuts on real file systems: ext4 and xfs that go down without their journal. See ../README.md."""
