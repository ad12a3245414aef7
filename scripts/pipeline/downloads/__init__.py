"""Published files of data sets: looked for where they may lie, downloaded where they do not."""
