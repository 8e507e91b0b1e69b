"""The relay server, its client, and the circuits they carry."""
