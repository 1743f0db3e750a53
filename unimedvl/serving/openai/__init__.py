"""The routes that OpenAI's clients know: chat, images and models."""
