"""What people do in the conversations of a unit beside sending: their quick replies, and who of them is where."""
