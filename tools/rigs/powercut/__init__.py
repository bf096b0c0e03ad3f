"""What `tools/rig-powercut` is made of; its own text says how it works."""
