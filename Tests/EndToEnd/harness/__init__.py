"""What the end-to-end tests share: server processes, a gRPC client, etcdctl, and raw HTTP/2.

Nothing here decides what is right; that is each test's business.
"""
