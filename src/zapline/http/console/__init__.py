"""The operators' console: pages made on the server, one stylesheet, one small script, a session cookie."""
