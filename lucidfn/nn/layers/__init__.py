"""The layers, one module a topic; users find them in `lucidfn.nn`."""
