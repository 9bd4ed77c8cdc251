"""MCP servers: their processes, connections, tools and notices."""
