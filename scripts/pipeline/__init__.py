"""What stands between the rules and the library: settings, files, progress, resumption, figures."""
