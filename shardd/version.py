"""The one place that names the version; hooks are installed under it."""

VERSION = "0.1.0"
