"""Generated from open_inference_grpc.proto by `make proto`; do not edit the generated files."""
