"""The one exception that the command line turns into a single line and exit status 2."""


class UserError(Exception):
    """Something the user can mend; the message names the file, the value found and the remedy, on one line."""
