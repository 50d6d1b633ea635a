"""Load tests with locust: users for every protocol, shapes, thresholds that fail a run. See docs/loadtests.md."""
