"""The two wire faces, HTTP and gRPC, over one dataplane."""
