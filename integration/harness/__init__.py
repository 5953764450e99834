"""What the scenarios stand on: two hosts in containers, and a checker for the books their agents keep."""
