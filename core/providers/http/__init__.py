"""An HTTP client for streams: connections, requests, and responses read in frames."""
