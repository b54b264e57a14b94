"""The origin's side: name resolution, connections and the connection pool."""
