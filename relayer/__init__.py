"""Everything of Jobseal that runs off chain and is not HTTP."""
