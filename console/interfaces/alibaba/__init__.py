"""Alibaba Cloud KMS's interface: what its clients send and expect, over Keyturn's secrets and rights."""
