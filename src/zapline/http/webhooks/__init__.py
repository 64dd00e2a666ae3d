"""The endpoint that receives Evolution's webhooks. Imported by ``daemon.composition`` alone."""
