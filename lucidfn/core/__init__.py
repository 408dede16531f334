"""The intermediate representation, and how running Python code becomes one."""
