"""`/v1/realtime`: a spoken conversation over a WebSocket, in OpenAI's vocabulary of events."""
