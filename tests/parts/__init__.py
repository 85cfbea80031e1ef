"""Real objects that several tests share: tiny models and data, recording disks, servers, programs of children."""
