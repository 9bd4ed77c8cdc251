"""HTTP for streams: connections, requests, answers in frames."""
