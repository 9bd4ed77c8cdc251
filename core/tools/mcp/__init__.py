"""MCP servers: their programs, connections, tools and news."""
