"""What people reported of other systems, tried here: one test a report, named after the kind of fault."""
