"""The HTTP API: OpenAI's routes and one per task, over an engine that batches continuously."""
