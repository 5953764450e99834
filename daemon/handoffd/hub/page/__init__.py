"""What the status page is made of; loaded when somebody first asks for it (docs/status-page.md).

It owns the page's files and the stream of news to each viewer. What is on the board comes from `port.Board`. The rules
that must stay true: nobody looking costs nothing; and whatever is shown is data that the browser writes as text.
"""
