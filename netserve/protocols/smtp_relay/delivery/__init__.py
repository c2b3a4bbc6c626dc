"""Mail out: from the queue to where the routes say."""
