"""Mail in: sessions, who may send, logins, and the way into the queue."""
