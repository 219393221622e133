"""The Just Walk Out door: stores whose shoppers walk out, signed with AWS Signature Version 4."""
