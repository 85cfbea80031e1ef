"""Agreement of the structure readers with mkdssp on whole files."""
