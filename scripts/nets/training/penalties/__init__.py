"""One file per penalty or constraint."""
