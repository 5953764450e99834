"""Views: what the files and the journal of a root tell a person, as values for the command line and the status page.

It owns reading them for people and the words and JSON they are shown in; it prints nothing and serves nothing. The
rule that must stay true: nothing is decided by what is found here, and `handoffd run` imports none of it before the
status page is first asked for.
"""
