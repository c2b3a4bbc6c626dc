"""TLS to other servers: certificates, DANE, and MTA-STS policies."""
